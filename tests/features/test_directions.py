"""Directions: against the formulas one pixel at a time, what they say of simple images, and to the accuracy."""

import json
import math
from typing import Any

import numpy as np
import pytest
from conftest import Program
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import mnist_softmax as ms
from mnist_softmax.features import directions as module
from mnist_softmax.features.deskew import deskew
from mnist_softmax.features.directions import DIRECTIONS, directions, shape

EAST, SOUTH_EAST, SOUTH, SOUTH_WEST, WEST, NORTH_WEST, NORTH, NORTH_EAST = range(8)


def one_pixel_at_a_time(pixels: Any, height: int, width: int) -> list[int]:
    """The docstring's formulas in plain integers, as a program in another language would have them."""
    p = [[int(pixels[y * width + x]) for x in range(width)] for y in range(height)]

    def at(y: int, x: int) -> int:
        return p[y][x] if 0 <= y < height and 0 <= x < width else 0

    def cut(t: int) -> int:
        return max(t, 0)

    c = -(-max(height, width) // 7)
    rows, columns = -(-height // c), -(-width // c)
    sums = [[[0] * columns for _ in range(rows)] for _ in range(8)]
    for y in range(height):
        for x in range(width):
            gx, gy = at(y, x + 1) - at(y, x - 1), at(y + 1, x) - at(y - 1, x)
            parts = [0] * 8
            parts[EAST], parts[WEST] = cut(gx - abs(gy)), cut(-gx - abs(gy))
            parts[SOUTH], parts[NORTH] = cut(gy - abs(gx)), cut(-gy - abs(gx))
            parts[SOUTH_EAST], parts[SOUTH_WEST] = min(cut(gx), cut(gy)), min(cut(-gx), cut(gy))
            parts[NORTH_WEST], parts[NORTH_EAST] = min(cut(-gx), cut(-gy)), min(cut(gx), cut(-gy))
            assert sum(part > 0 for part in parts) <= 2
            for d, (step_x, step_y) in enumerate(DIRECTIONS):
                gx -= step_x * parts[d]
                gy -= step_y * parts[d]
            assert (gx, gy) == (0, 0)  # the parts are the whole of the gradient
            for r in range(rows):
                for q in range(columns):
                    weight = cut(2 * c - abs(2 * y - (2 * c * r + c - 1)))
                    weight *= cut(2 * c - abs(2 * x - (2 * c * q + c - 1)))
                    for d in range(8):
                        sums[d][r][q] += weight * parts[d]
    return [min(255, math.isqrt(64 * s // c**4)) for map_ in sums for row in map_ for s in row]


SIZES = [(28, 28), (8, 8), (20, 31), (1, 1), (3, 50), (50, 3), (85, 84)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_features_are_those_of_the_formulas(height: int, width: int) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (1, height * width))
    stripes = np.where(np.arange(height * width) % width % 4 < 2, 255, 0)[None]
    images = np.concatenate([noise, np.where(noise > 200, 255, 0), stripes]).astype(np.uint8)
    expected = [one_pixel_at_a_time(image, height, width) for image in images]
    features = directions(images, height, width)
    assert features.dtype == np.uint8
    assert features.shape == (len(images), math.prod(shape(height, width)))
    np.testing.assert_array_equal(features, expected)


@settings(max_examples=30, deadline=None)
@given(data=st.data(), height=st.integers(1, 20), width=st.integers(1, 20))
def test_any_image_has_the_features_of_the_formulas(data: Any, height: int, width: int) -> None:
    pixels = st.integers(0, 255) | st.sampled_from([0, 255])
    image = data.draw(arrays(np.uint8, (1, height * width), elements=pixels))
    np.testing.assert_array_equal(
        directions(image, height, width)[0], one_pixel_at_a_time(image[0], height, width)
    )


def test_sums_are_exact_up_to_the_largest_cell_that_float32_gets() -> None:
    """The largest sums there are: half of the pixels in steps of 255 under the whole tent."""
    side = 7 * module._LARGEST_EXACT
    steps = np.tile(np.where(np.arange(side) % 4 < 2, 255, 0), (side, 1)).astype(np.uint8)
    for image in (steps, steps.T):
        features = directions(image.reshape(1, -1), side, side)
        np.testing.assert_array_equal(features[0], one_pixel_at_a_time(image.ravel(), side, side))
    c = module._LARGEST_EXACT
    assert 255 * (2 * c**2) ** 2 < 2**24 <= 255 * (2 * (c + 1) ** 2) ** 2


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (28, 28, (8, 7, 7)),
        (8, 8, (8, 4, 4)),
        (20, 31, (8, 4, 7)),
        (1, 1, (8, 1, 1)),
        (64, 64, (8, 7, 7)),
    ],
)
def test_there_are_up_to_seven_cells_along_the_longer_side(height: int, width: int, expected: Any) -> None:
    assert shape(height, width) == expected


def maps(image: Any) -> Any:
    return directions(image.reshape(1, -1), *image.shape).reshape(shape(*image.shape)).astype(int)


def test_an_edge_is_in_the_map_of_the_direction_in_which_its_ink_rises() -> None:
    y, x = np.mgrid[:28, :28]
    for d, (step_x, step_y) in enumerate(DIRECTIONS):
        ink = np.where(step_x * (x - 13.5) + step_y * (y - 13.5) > 0, 255, 0).astype(np.uint8)
        inner = maps(ink)[:, 1:-1, 1:-1]  # the border of the image is an edge too
        assert inner.sum(axis=(1, 2)).argmax() == d
        assert inner[(d + 4) % 8].sum() == 0  # nothing rises the other way


def test_an_image_and_its_mirror_image_have_mirrored_maps() -> None:
    image = ms.open_split("mnist-sample", "test").images[5].reshape(28, 28)
    mirrored = maps(np.ascontiguousarray(image[:, ::-1]))
    order = [WEST, SOUTH_WEST, SOUTH, SOUTH_EAST, EAST, NORTH_EAST, NORTH, NORTH_WEST]
    np.testing.assert_array_equal(mirrored, maps(image)[order][:, :, ::-1])


def test_no_image_and_no_ink_are_no_features() -> None:
    assert directions(np.empty((0, 784), np.uint8), 28, 28).shape == (0, 392)
    assert not directions(np.zeros((3, 784), np.uint8), 28, 28).any()


def test_rows_do_not_depend_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    images = ms.open_split("mnist-sample", "test").images[:50]
    together = directions(images, 28, 28)
    monkeypatch.setattr(module, "_BLOCK_PIXELS", 1)
    np.testing.assert_array_equal(directions(images, 28, 28), together)
    np.testing.assert_array_equal(directions(images[::-1], 28, 28), together[::-1])


def test_a_model_that_sees_directions_reads_the_sample_at_98_percent(program: Program) -> None:
    trained = program("train", "--dataset", "mnist-sample", "--features", "deskew,directions", "--json")
    assert trained.code == 0
    scored = json.loads(program("eval", "--json", "--min-accuracy", "0.983").out)
    assert scored["accuracy"] >= 0.983


def test_what_was_trained_with_directions_is_read_with_them(tmp_path: Any) -> None:
    split, test = ms.open_split("mnist-sample"), ms.open_split("mnist-sample", "test")
    ms.train(split, features=("deskew", "directions"), epochs=2).save(tmp_path / "weights.npy")
    model = ms.load(tmp_path / "weights.npy")
    assert model.features == ("deskew", "directions")
    W, B = np.split(model.array.astype(float), [-1])
    F = directions(deskew(test.images, 28, 28), 28, 28) / 255 @ W + B
    np.testing.assert_array_equal(model.predict(test.images), F.argmax(axis=1))
    assert ms.evaluate(model, test).accuracy == np.mean(F.argmax(axis=1) == test.labels)
