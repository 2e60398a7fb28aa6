"""Fixtures: the miniature network as a model."""

import pytest

from alexnet.network.model_file import Model
from exchange.miniature import everything, make_model


@pytest.fixture(scope="session")
def small() -> Model:
    return make_model(everything())
