"""Deskewing: against the formulas one pixel at a time, against SciPy, and from training to scoring."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Program
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import affine_transform

import mnist_softmax as ms
from mnist_softmax.features import deskew as module
from mnist_softmax.features.deskew import deskew, shear_and_centre

SAMPLE = ms.open_split("mnist-sample", "test").images


def moments(images: Any, height: int = 28, width: int = 28) -> Any:
    return shear_and_centre(images.reshape(-1, height, width).astype(np.float64))


def one_pixel_at_a_time(pixels: Any, height: int, width: int) -> list[int]:
    """The docstring's formulas in plain numbers, as a program in another language would have them."""
    p = [[int(pixels[y * width + x]) for x in range(width)] for y in range(height)]

    def at(y: int, x: int) -> int:
        return p[y][x] if 0 <= y < height and 0 <= x < width else 0

    s = sx = sy = sxy = syy = 0.0
    for y in range(height):
        for x in range(width):
            s += p[y][x]
            sx += p[y][x] * x
            sy += p[y][x] * y
            sxy += p[y][x] * x * y
            syy += p[y][x] * y * y
    if s == 0:
        return [0] * (height * width)
    mu02 = s * syy - sy * sy
    alpha = (s * sxy - sx * sy) / mu02 if mu02 > 0 else 0.0
    dy = sy / s - height / 2
    iy = math.floor(dy)
    fy = dy - iy
    out = []
    for y in range(height):
        dx = sx / s - width / 2 + alpha * (y - height / 2)
        ix = math.floor(dx)
        fx = dx - ix
        for x in range(width):
            left = (1 - fy) * at(y + iy, x + ix) + fy * at(y + iy + 1, x + ix)
            right = (1 - fy) * at(y + iy, x + ix + 1) + fy * at(y + iy + 1, x + ix + 1)
            out.append(math.floor((1 - fx) * left + fx * right + 0.5))
    return out


def test_digits_come_out_as_the_formulas_say_bit_for_bit() -> None:
    images = SAMPLE[::50]
    expected = [one_pixel_at_a_time(image, 28, 28) for image in images]
    np.testing.assert_array_equal(deskew(images, 28, 28), expected)


@settings(deadline=None, max_examples=200)
@given(st.tuples(st.integers(1, 9), st.integers(1, 9)), st.data())
def test_images_of_any_size_and_content_come_out_as_the_formulas_say(
    shape: tuple[int, int], data: st.DataObject
) -> None:
    height, width = shape
    values = st.sampled_from([0, 0, 0, 1, 254, 255]) | st.integers(0, 255)
    image = data.draw(arrays(np.uint8, height * width, elements=values))
    np.testing.assert_array_equal(
        deskew(image[None], height, width)[0], one_pixel_at_a_time(image, height, width)
    )


def test_a_few_dots_are_sheared_as_far_as_it_takes() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(1, 256, (2000, 35), np.uint8) * (rng.random((2000, 35)) < 0.1)
    assert np.abs(moments(images, 7, 5)[0]).max() > 2  # more than the width from the middle to the edge
    expected = [one_pixel_at_a_time(image, 7, 5) for image in images]
    np.testing.assert_array_equal(deskew(images, 7, 5), expected)


def test_scipy_finds_the_same_within_a_grey_level() -> None:
    images = SAMPLE[::7]
    for image, found, alpha, cx, cy in zip(images, deskew(images, 28, 28), *moments(images), strict=True):
        matrix = np.array([[1, 0], [alpha, 1]])  # from (y', x') to (y, x)
        offset = np.array([cy, cx]) - matrix @ [14, 14]
        picture = image.reshape(28, 28).astype(float)
        expected = affine_transform(picture, matrix, offset, order=1, mode="grid-constant")
        assert np.abs(found.reshape(28, 28) - expected).max() <= 0.5 + 1e-6


def test_digits_are_upright_and_centred_afterwards() -> None:
    before, after = moments(SAMPLE), moments(deskew(SAMPLE, 28, 28))
    # What is left is of the rounding to whole grey levels, and of strokes that were sheared out of the image.
    for name, wanted, was, now in zip(("alpha", "cx", "cy"), (0, 14, 14), before, after, strict=True):
        assert np.percentile(np.abs(was - wanted), 90) > 0.2, name
        assert np.percentile(np.abs(now - wanted), 99) < 0.02, name


def test_a_slanted_stroke_stands_up() -> None:
    slanted, upright = np.zeros((2, 28, 28), np.uint8)
    for y in range(8, 21):
        slanted[y, 30 - y] = 200  # one pixel to the left for each step down
        upright[y, 14] = 200
    np.testing.assert_array_equal(deskew(slanted.reshape(1, -1), 28, 28).reshape(28, 28), upright)


def test_an_image_without_ink_or_with_a_single_row_of_it_is_no_trouble() -> None:
    images = np.zeros((3, 8, 8), np.uint8)
    images[1, 5, 2:5] = 255  # no height: mu02 is 0
    images[2, 0, 7] = 1
    expected = np.zeros_like(images)
    expected[1, 4, 3:6] = 255
    expected[2, 4, 4] = 1
    np.testing.assert_array_equal(deskew(images.reshape(3, -1), 8, 8), expected.reshape(3, -1))


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    rows = module._BLOCK_PIXELS // 784 + 3
    together = deskew(SAMPLE[:rows], 28, 28)
    apart = np.concatenate([deskew(SAMPLE[row : row + 1], 28, 28) for row in range(rows)])
    np.testing.assert_array_equal(together, apart)
    assert deskew(SAMPLE[:0], 28, 28).shape == (0, 784)


# From training to scoring --------------------------------------------------------------------------------------------


def test_deskewed_weights_are_scored_on_deskewed_rows_and_better() -> None:
    rows, test = (ms.open_split("mnist-sample", name) for name in ("train", "test"))
    plain, deskewed = (ms.train(rows, features=chain, epochs=5) for chain in ((), ("deskew",)))
    assert deskewed.features == ("deskew",)
    accuracy = ms.evaluate(deskewed, test).accuracy
    assert accuracy > ms.evaluate(plain, test).accuracy + 0.03
    assert accuracy == (deskewed.predict(test.images) == test.labels).mean()
    # Taken for weights of plain pixels, they are worth less: it is the receipt that makes the difference.
    assert ms.evaluate(replace(deskewed, receipt=None), test).accuracy < accuracy - 0.03


@pytest.mark.parametrize(
    ("config", "environment", "arguments", "expected"),
    [
        ("", {}, [], ()),
        ("features = ['deskew']", {}, [], ("deskew",)),
        ("features = 'deskew'", {}, [], ("deskew",)),
        ("features = []", {"MNIST_SOFTMAX_TRAIN_FEATURES": ""}, [], ()),
        ("features = ['deskew']", {"MNIST_SOFTMAX_TRAIN_FEATURES": "none"}, [], ()),
        ("", {"MNIST_SOFTMAX_TRAIN_FEATURES": "deskew"}, [], ("deskew",)),
        ("features = 'deskew'", {"MNIST_SOFTMAX_TRAIN_FEATURES": "deskew"}, ["--features=none"], ()),
    ],
)
def test_features_are_set_like_any_option(
    program: Program,
    tmp_path: Path,
    small_folder: Path,
    config: str,
    environment: Any,
    arguments: list[str],
    expected: tuple[str, ...],
) -> None:
    (tmp_path / "c.toml").write_text(config)
    done = program("train", "--config", "c.toml", "--data-dir", small_folder, *arguments, **environment)
    assert done.code == 0, done.err
    assert ms.load(tmp_path / "weights.npy").features == expected
    assert program("eval").code == 0


@pytest.mark.parametrize("value", ["1", "true", "[1]", "['deskew', 'deskew']", "['sharpen']", "{}", "''"])
def test_features_in_the_config_that_are_no_chain_are_exit_2(
    program: Program, tmp_path: Path, value: str
) -> None:
    (tmp_path / "c.toml").write_text(f"features = {value}")
    done = program("train", "--config", "c.toml")
    assert done.code == 2
    assert "wrong value of features: c.toml" in done.error
