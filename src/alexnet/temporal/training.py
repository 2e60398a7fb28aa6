"""Training heads on the features of an image model that stays as it is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet.data.store.format import TRAIN
from alexnet.data.store.reader import Store
from alexnet.errors import StoreError
from alexnet.evaluation.classifier import Classifier
from alexnet.temporal.clip_model import TemporalModel
from alexnet.temporal.clips import STEP, Clips, check_lengths, compute_features, find_step, list_clips
from alexnet.temporal.heads import HEADS, FrameByFrame, Head
from alexnet.text.progress import Tick, untold
from alexnet.text.wording import counted
from alexnet.version import __version__

EPOCHS, RATE, WEIGHT_DECAY = 20, 1e-3, 1e-2
"""Of AdamW (Loshchilov and Hutter 2019), with a rate that falls to zero along a cosine."""
BATCH_FRAMES = 384
"""About as many frames are in a batch, of whole clips."""


def train_temporal(
    store: Store,
    classifier: Classifier,
    kind: str,
    *,
    seed: int = 0,
    begin: Callable[[str, str], Tick] = lambda what, unit: untold,
) -> tuple[TemporalModel, Clips]:
    """Return a model of clips that learned the classes of a store of clips' frames, and the clips.

    The features of all training frames are computed once and kept in memory, 16 KiB a frame for the paper's network.
    The heads then take seconds, so that there is nothing to resume.

    Args:
        classifier: The image model.
        kind: Of the head: a name of `heads.HEADS`.
        seed: Fixes first weights, order and dropout.
        begin: Called with what is done and what is counted, returns whom to tell of it.
    Raises:
        StoreError: the store holds no clips, or some are shorter than the head reads.
        WeightsError: its images have another size than those of the image model.
    """
    classifier.check_size(store)
    clips = list_clips(store, TRAIN)
    check_lengths(clips, HEADS[kind].least_frames, where=str(store.path), what=kind)
    if max(map(len, clips.frames)) < 2:
        raise StoreError(
            f"{store.path}: none of its {counted(len(clips), 'clip')} has two frames, so there is nothing to learn "
            "over time. Take frames more often (prepare --every)."
        )
    features = compute_features(classifier, store[TRAIN].images, tick=begin("computing features", "frames"))
    shape = features.shape[1], len(store.class_names)
    head = fit_head(HEADS[kind], shape, features, clips, seed=seed, tick=begin("training the head", "epochs"))
    alone = fit_head(
        FrameByFrame, shape, features, clips.each_frame(), seed=seed, tick=begin("training frame by frame", "epochs")
    )
    assert isinstance(alone, FrameByFrame)
    provenance: dict[str, Any] = {
        "store": store.fingerprint,
        STEP: find_step(store),
        "clips": len(clips),
        "frames": len(features),
        "seed": seed,
        "alexnet": __version__,
    }
    model = TemporalModel(
        classifier.model,
        kind,
        head,
        alone,
        store.class_names,
        store.class_titles,
        clips.every_seconds,
        provenance,
    )
    return model, clips


def fit_head(
    make: type[Head],
    shape: tuple[int, int],
    features: Tensor,
    clips: Clips,
    *,
    seed: int,
    tick: Tick = untold,
) -> Head:
    """Return a head that was trained on clips, in evaluation mode; a pure function of the arguments.

    Args:
        shape: Features of a frame, and classes.
        features: (F, D), of all frames.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = make(*shape)
        head.standardize(features)
        order = np.random.default_rng(seed)
        rows, counts = clips.fill_up()
        num_batches = min(len(clips), -(-int(counts.sum()) // BATCH_FRAMES))
        labels = torch.from_numpy(clips.labels)
        optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * num_batches)
        for epoch in range(EPOCHS):
            for batch in np.array_split(order.permutation(len(clips)), num_batches):
                logits = head(features[rows[batch, : int(counts[batch].max())]], counts[batch])
                F.cross_entropy(logits, labels[batch]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
            tick(epoch + 1, EPOCHS)
    return head.eval()
