"""The chain of feature steps: its names, its order, and that no step means the images themselves."""

import numpy as np
import pytest

from mnist_softmax.features import steps
from mnist_softmax.features.deskew import deskew
from mnist_softmax.features.steps import Step
from mnist_softmax.settings import FEATURE_STEPS

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 63), np.uint8)


def test_every_step_that_can_be_named_is_there() -> None:
    assert list(steps.STEPS) == list(FEATURE_STEPS)


def test_no_steps_are_the_images_themselves() -> None:
    assert steps.apply(IMAGES, 9, 7, ()) is IMAGES


def test_steps_are_applied_in_the_order_of_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(steps.STEPS, "invert", Step(lambda images, *_: 255 - images, lambda *size: size))
    np.testing.assert_array_equal(steps.apply(IMAGES, 9, 7, ("deskew", "invert")), 255 - deskew(IMAGES, 9, 7))
    np.testing.assert_array_equal(steps.apply(IMAGES, 9, 7, ("invert", "deskew")), deskew(255 - IMAGES, 9, 7))


@pytest.mark.parametrize("chain", [(), ("deskew",)])
def test_as_many_features_come_out_as_are_counted(chain: tuple[str, ...]) -> None:
    features = steps.apply(IMAGES, 9, 7, chain)
    assert features.shape == (20, steps.count(9, 7, chain))
    assert features.dtype == np.uint8


def test_a_step_may_make_something_else_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    halves = Step(
        lambda images, height, width: images[:, : width // 2], lambda height, width: (1, width // 2)
    )
    monkeypatch.setitem(steps.STEPS, "halves", halves)
    np.testing.assert_array_equal(steps.apply(IMAGES, 9, 7, ("halves", "halves")), IMAGES[:, :1])
    assert steps.shape(9, 7, ("halves",)) == (1, 3)
    assert steps.count(9, 7, ("halves", "halves")) == 1


def test_images_are_as_good_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = steps.apply(IMAGES, 9, 7, ("deskew",))
    monkeypatch.setattr(steps, "_BLOCK_ROWS", 7)
    np.testing.assert_array_equal(steps.apply(IMAGES, 9, 7, ("deskew",)), whole)
