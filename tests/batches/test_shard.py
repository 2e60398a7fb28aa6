import numpy as np

from alexnet.batches.shard import WHOLE_BATCH, BatchShard


def test_turns_deal_out_whole_batches_and_fill_up_the_last() -> None:
    shards = [[turn.tolist() for turn in BatchShard(index, 3).turns(8, 2)] for index in range(3)]
    assert shards == [[[0, 1], [6, 7]], [[2, 3], [-1, -1]], [[4, 5], [-1, -1]]]
    assert [turn.tolist() for turn in BatchShard(1, 2).turns(7, 2)] == [[2, 3], [6, -1]]
    assert [turn.tolist() for turn in BatchShard(1, 2).turns(1, 4)] == [[-1]]
    assert [turn.tolist() for turn in WHOLE_BATCH.turns(5, 3)] == [[0, 1, 2], [3, 4]]


def test_all_shards_together_have_every_image_once_in_order() -> None:
    turns = zip(*(BatchShard(index, 4).turns(103, 5) for index in range(4)), strict=True)
    dealt = np.concatenate([positions for turn in turns for positions in turn])
    assert dealt[dealt >= 0].tolist() == list(range(103))
