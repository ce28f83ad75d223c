"""The table of feature steps: names, shapes, and which of them make images."""

import pytest

from mnist_softmax.features import steps
from mnist_softmax.settings import FEATURE_STEPS


def test_every_step_that_can_be_named_is_there() -> None:
    assert list(steps.STEPS) == list(FEATURE_STEPS)


@pytest.mark.parametrize(
    ("chain", "shape", "count"),
    [
        ((), (9, 7), 63),
        (("deskew",), (9, 7), 63),
        (("directions",), (8, 5, 4), 160),
        (("deskew", "directions"), (8, 5, 4), 160),
    ],
)
def test_a_chain_says_the_shape_of_its_features(chain: tuple[str, ...], shape: object, count: int) -> None:
    assert steps.shape(9, 7, chain) == shape
    assert steps.count(9, 7, chain) == count


def test_images_end_where_directions_begin() -> None:
    assert steps.of_images(()) == ()
    assert steps.of_images(("deskew",)) == ("deskew",)
    assert steps.of_images(("directions",)) == ()
    assert steps.of_images(("deskew", "directions")) == ("deskew",)
