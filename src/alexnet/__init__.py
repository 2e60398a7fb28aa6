"""The system of Krizhevsky, Sutskever and Hinton (2012).

Labelled images in; a trained, tested, explainable classifier out.
Importing this package is cheap; PyTorch is loaded on first use of a name.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from alexnet.version import __version__

if TYPE_CHECKING:
    from alexnet.data.prepare.prepare import prepare
    from alexnet.data.store.reader import Store, open_store
    from alexnet.errors import AlexNetError
    from alexnet.evaluation.classifier import Classifier, load
    from alexnet.evaluation.ensemble import Ensemble, load_ensemble
    from alexnet.evaluation.prediction import Prediction
    from alexnet.network.alexnet import AlexNet, build
    from alexnet.recipes.named import Recipe, find_recipe
    from alexnet.runs.train import train

_HOMES = {
    "AlexNet": "network.alexnet",
    "AlexNetError": "errors",
    "Classifier": "evaluation.classifier",
    "Ensemble": "evaluation.ensemble",
    "Prediction": "evaluation.prediction",
    "Recipe": "recipes.named",
    "Store": "data.store.reader",
    "build": "network.alexnet",
    "find_recipe": "recipes.named",
    "load": "evaluation.classifier",
    "load_ensemble": "evaluation.ensemble",
    "open_store": "data.store.reader",
    "prepare": "data.prepare.prepare",
    "train": "runs.train",
}
"""Public name -> the module that defines it."""

__all__ = [
    "AlexNet",
    "AlexNetError",
    "Classifier",
    "Ensemble",
    "Prediction",
    "Recipe",
    "Store",
    "__version__",
    "build",
    "find_recipe",
    "load",
    "load_ensemble",
    "open_store",
    "prepare",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"alexnet.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'alexnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
