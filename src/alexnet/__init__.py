"""The system of Krizhevsky, Sutskever and Hinton (2012).

Labelled images in; a trained, tested, explainable classifier out. What a verb of the command does, a function here does
too, by the same code. Importing this package is cheap; PyTorch is loaded on first use of a name.
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
    from alexnet.functions import draw
    from alexnet.functions.exporting import export, export_store, features
    from alexnet.functions.searching import index, search
    from alexnet.functions.testing import calibrate, evaluate, report
    from alexnet.functions.training import cross_validate, train, train_longer
    from alexnet.network.alexnet import AlexNet, build
    from alexnet.recipes.named import Recipe, find_recipe
    from alexnet.retrieval.index.reader import Index, open_index

_HOMES = {
    "AlexNet": "network.alexnet",
    "AlexNetError": "errors",
    "Classifier": "evaluation.classifier",
    "Ensemble": "evaluation.ensemble",
    "Index": "retrieval.index.reader",
    "Prediction": "evaluation.prediction",
    "Recipe": "recipes.named",
    "Store": "data.store.reader",
    "build": "network.alexnet",
    "calibrate": "functions.testing",
    "cross_validate": "functions.training",
    "evaluate": "functions.testing",
    "export": "functions.exporting",
    "export_store": "functions.exporting",
    "features": "functions.exporting",
    "find_recipe": "recipes.named",
    "index": "functions.searching",
    "load": "evaluation.classifier",
    "load_ensemble": "evaluation.ensemble",
    "open_index": "retrieval.index.reader",
    "open_store": "data.store.reader",
    "prepare": "data.prepare.prepare",
    "report": "functions.testing",
    "search": "functions.searching",
    "train": "functions.training",
    "train_longer": "functions.training",
}
"""Public name -> the module that defines it."""
_MODULES = {"draw": "functions.draw"}
"""Public name -> the module that it is: one with a function for each figure."""

__all__ = [
    "AlexNet",
    "AlexNetError",
    "Classifier",
    "Ensemble",
    "Index",
    "Prediction",
    "Recipe",
    "Store",
    "__version__",
    "build",
    "calibrate",
    "cross_validate",
    "draw",
    "evaluate",
    "export",
    "export_store",
    "features",
    "find_recipe",
    "index",
    "load",
    "load_ensemble",
    "open_index",
    "open_store",
    "prepare",
    "report",
    "search",
    "train",
    "train_longer",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"alexnet.{_HOMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"alexnet.{_MODULES[name]}")
    raise AttributeError(f"module 'alexnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
