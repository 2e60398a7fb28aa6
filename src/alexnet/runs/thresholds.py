"""From a trained network of independent classes to a model that says of each whether it is there."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from alexnet.data.store.format import VAL
from alexnet.data.store.reader import Store
from alexnet.evaluation.evaluate import gather_probabilities
from alexnet.evaluation.set_evaluation import find_thresholds
from alexnet.files.tensors import copy_into
from alexnet.network.alexnet import allocate
from alexnet.network.confidence import MEASURED_VIEWS
from alexnet.network.independent import Independent
from alexnet.network.model_file import Model
from alexnet.system import Compute
from alexnet.text.progress import Tick, untold


def choose_thresholds(
    store: Store, model: Model, compute: Compute, tensors: Mapping[str, Tensor], *, tick: Tick = untold
) -> Model:
    """Return the model with the thresholds that give the best F1 of each class on the validation images.

    They are found for one view and for ten, whose means are less extreme. Without validation images there are none.

    Args:
        model: It may hold a part of the network.
        tensors: What `tensors_of` returns for the whole network.
    """
    if VAL not in store.filled_splits:
        return model
    network = allocate(model.network.spec)
    copy_into(store.path, network.state_dict(), dict(tensors))
    network = network.to(device=compute.device, dtype=compute.dtype).eval()
    split = store[VAL]
    found = {}
    for views in MEASURED_VIEWS:
        probabilities = gather_probabilities(
            network, split.images, model.preprocessing, compute, num_views=views, tick=tick, independent=True
        )
        found[views] = find_thresholds(probabilities.numpy(), split.label_sets)
    return replace(model, independent=Independent(found))
