"""Fixtures: the miniature network as a model."""

import pytest
from exchange.miniature import everything, make_model

from alexnet.network.model_file import Model


@pytest.fixture(scope="session")
def small() -> Model:
    return make_model(everything())
