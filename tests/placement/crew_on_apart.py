"""What the processes of a crew do on the pretended device. Without pytest: other processes import this."""

from typing import Any

import torch
import torch.distributed as dist
from distribution.work import meet
from placement import apart
from torch import Tensor

from alexnet.batches.loader import Batch
from alexnet.distribution import process_group
from alexnet.network.alexnet import build
from alexnet.recipes.fields import Optimization
from alexnet.training.optimizer import MomentumDescent
from alexnet.training.update import Update

IMAGES, CLASSES = 4, 6


def carry(seen: set[str]) -> None:
    """Have tensors of the device travel by what they hold, and note of each exchange where its tensors were.

    On a GPU, NCCL takes those of the device and nothing else, and Gloo those of the CPU.
    """

    def unwrap(each: Any) -> Any:
        if isinstance(each, list):
            return [unwrap(one) for one in each]
        if isinstance(each, Tensor):
            seen.add(each.device.type)
            return each.inner if isinstance(each, apart.Apart) else each
        return each

    def through(function: Any) -> Any:
        return lambda *tensors, **options: function(*map(unwrap, tensors), **options)

    for name in ("_all_gather", "_reduce_scatter"):
        setattr(process_group, name, through(getattr(process_group, name)))
    for name in ("all_reduce", "gather"):
        setattr(dist, name, through(getattr(dist, name)))
    dist.batch_isend_irecv = lambda steps: [each.op(unwrap(each.tensor), each.peer, each.group) for each in steps]


def train_shared(
    mesh: str, device: str, layer_trust: float
) -> tuple[list[tuple[float, int]], dict[str, Any], list[str]]:
    """Two updates of the paper's network in little; their losses, the whole weights on rank 0, and where the tensors
    were that a training exchanges."""
    apart.set_up()
    world = meet(mesh)
    seen: set[str] = set()
    carry(seen)
    network = world.shard_network(build("small", CLASSES, seed=3, initialization="he")).to(device)
    recipe = Optimization(layer_trust=layer_trust)
    optimizer = MomentumDescent(network, recipe, dtype=torch.float32, world=world)
    optimizer.working.train()
    (positions,) = world.batch_shard(None).parts(IMAGES)
    every = torch.randn((IMAGES, 3, 224, 224), generator=torch.Generator().manual_seed(1))
    own = torch.from_numpy(positions)
    inputs = every[own].contiguous(memory_format=torch.channels_last)
    batch = Batch(*(each.to(device) for each in (inputs, own % CLASSES, own * 7919 + 1)), total=IMAGES)
    update, losses = Update(optimizer, world=world), []
    for _ in range(2):
        done = update(batch, dict.fromkeys(optimizer.velocities, 0.01))
        assert done is not None
        losses.append(done.read())
    whole = world.gather_shards(dict(optimizer.master.named_parameters()))
    used = sorted(seen)
    weights = {name: weight.detach().cpu().numpy() for name, weight in whole.items()} if world.is_main else {}
    assert world.all_reduce_any(world.is_main) == (True,)
    assert world.all_gather_objects(world.rank) == list(range(world.world_size))
    return losses, weights, used
