import numpy as np
import pytest
import torch

from alexnet.batches.preprocessing import FRAMINGS, Preprocessing
from alexnet.batches.views import evaluation_views
from alexnet.data.images import decode
from alexnet.errors import ConfigError

IMAGES = list(np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8))
PREPROCESSING = Preprocessing(np.full((16, 16, 3), 100, np.float32), 2.0)


def test_views_are_every_place_of_every_image_less_the_mean_and_divided() -> None:
    views = PREPROCESSING.make_views(IMAGES, 12, torch.float32, views=10)
    assert views.shape == (3, 10, 3, 12, 12)
    image = torch.from_numpy((IMAGES[1].astype(np.float32) - 100) / 2).permute(2, 0, 1)
    torch.testing.assert_close(views[1, 2], image[:, 2:14, 2:14])
    torch.testing.assert_close(views[1, 4], image[:, 4:, 4:])
    torch.testing.assert_close(views[1, 9], image[:, 4:, 4:].flip(2))
    assert torch.equal(PREPROCESSING.make_views(IMAGES, 12, torch.float32), views[:, 2:3])
    places = evaluation_views(16, 12, 10)[3:5]
    assert torch.equal(PREPROCESSING.make_views(IMAGES, 12, torch.float32, views=places), views[:, 3:5])


def test_views_refuse_images_of_another_size_and_numbers_that_are_none() -> None:
    with pytest.raises(ConfigError, match=r"accepted are \(16, 16, 3\) uint8 RGB"):
        PREPROCESSING.make_views([IMAGES[0][:12]], 12, torch.float32)
    with pytest.raises(ConfigError, match=r"views is 4; accepted are 1 \(centre\), 9"):
        PREPROCESSING.make_views(IMAGES, 12, torch.float32, views=4)


def test_the_framings_are_those_of_decoding() -> None:
    assert decode.Framing.__args__ == FRAMINGS  # type: ignore[attr-defined]
