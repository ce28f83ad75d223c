"""The chain of feature steps: its names, its order, and that no step means the images themselves."""

import numpy as np
import pytest

from mnist_softmax.features import steps
from mnist_softmax.features.deskew import deskew
from mnist_softmax.settings import FEATURE_STEPS

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 63), np.uint8)


def test_every_step_that_can_be_named_is_there() -> None:
    assert list(steps.STEPS) == list(FEATURE_STEPS)


def test_no_steps_are_the_images_themselves() -> None:
    assert steps.apply(IMAGES, 9, 7, ()) is IMAGES


def test_steps_are_applied_in_the_order_of_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(steps.STEPS, "invert", lambda images, _height, _width: 255 - images)
    np.testing.assert_array_equal(steps.apply(IMAGES, 9, 7, ("deskew", "invert")), 255 - deskew(IMAGES, 9, 7))
    np.testing.assert_array_equal(steps.apply(IMAGES, 9, 7, ("invert", "deskew")), deskew(255 - IMAGES, 9, 7))


@pytest.mark.parametrize("chain", [(), ("deskew",)])
def test_as_many_features_come_out_as_are_counted(chain: tuple[str, ...]) -> None:
    features = steps.apply(IMAGES, 9, 7, chain)
    assert features.shape == (20, steps.count(9, 7, chain))
    assert features.dtype == np.uint8
