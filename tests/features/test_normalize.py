"""Pictures of a digit made MNIST images: against MNIST itself, by a slow reference, and on pictures that are not tidy."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from mnist_softmax.data.open import open_split
from mnist_softmax.errors import DataError
from mnist_softmax.features import normalize as module
from mnist_softmax.features.normalize import normalize


@pytest.fixture(scope="module")
def digits() -> Any:
    return open_split("mnist-sample", "test").images[:200].reshape(-1, 28, 28)


def pasted(digit: Any, scale: int, canvas: tuple[int, int], place: tuple[int, int]) -> Any:
    big = np.kron(digit, np.ones((scale, scale), np.uint8))
    picture = np.zeros(canvas, np.uint8)
    picture[place[0] : place[0] + big.shape[0], place[1] : place[1] + big.shape[1]] = big
    return picture


def test_a_digit_of_mnist_comes_out_as_it_went_in(digits: Any) -> None:
    # Its brightest pixel becomes 255, and its box is that of its sure ink: bits differ where that is smaller.
    same = np.array([np.array_equal(normalize(digit).image, digit) for digit in digits])
    assert same.mean() > 0.3
    full = np.array([digit for digit in digits if digit.max() == 255])
    difference = [np.abs(normalize(digit).image.astype(int) - digit).mean() for digit in full]
    assert np.median(difference) < 1


def test_size_place_and_polarity_make_no_difference(digits: Any) -> None:
    for i, digit in enumerate(digits[:40]):
        alone = normalize(digit)
        assert not alone.inverted
        scale = 2 + i % 11
        picture = pasted(digit, scale, (28 * scale + 90, 28 * scale + 40), (3 * (i % 30), i))
        np.testing.assert_array_equal(normalize(picture).image, alone.image)
        dark_on_light = normalize(255 - picture)
        assert dark_on_light.inverted
        np.testing.assert_array_equal(dark_on_light.image, alone.image)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (8, 8), (9, 13), (1, 1), (64, 32)])
def test_any_size_of_image_can_be_asked_for(digits: Any, height: int, width: int) -> None:
    image = normalize(pasted(digits[3], 4, (150, 140), (10, 20)), height, width).image
    assert image.dtype == np.uint8
    assert (image.shape, image.max()) == ((height, width), 255)
    if min(height, width) > 1:
        rows, columns = np.nonzero(image)
        assert max(np.ptp(rows), np.ptp(columns)) + 1 <= round(20 / 28 * min(height, width))


def test_the_centre_of_mass_comes_within_half_a_pixel_of_the_centre(digits: Any) -> None:
    for digit in digits:
        image = normalize(pasted(digit, 3, (100, 100), (0, 9))).image.astype(int)
        for axis in (0, 1):
            centre = image.sum(axis=1 - axis) @ np.arange(28) / image.sum()
            assert -0.5 <= centre - 14 <= 0.5


def test_the_reduction_is_the_exact_average_over_areas() -> None:
    rng = np.random.default_rng(0)
    for side in (1, 5, 20, 33, 47):
        digit = rng.integers(0, 256, (side, 1 + side // 2)).astype(np.uint8)
        square = np.zeros((side, side), np.uint8)
        square[:, : 1 + side // 2] = digit

        def share(source: int, target: int, side: int = side) -> Fraction:
            """How much of pixel `target` of 20 lies in pixel `source` of `side`."""
            unit = Fraction(side, 20)
            overlap = min(Fraction(source + 1), (target + 1) * unit) - max(Fraction(source), target * unit)
            return max(Fraction(0), overlap) / unit

        shares = np.array([[share(j, i) for j in range(side)] for i in range(20)])
        exact = shares @ square.astype(int).astype(object) @ shares.T
        expected = [[math.floor(value + Fraction(1, 2)) for value in row] for row in exact]
        reduced = module._reduce(digit, 20)
        assert reduced.tolist() == [row[: reduced.shape[1]] for row in expected]
        assert not np.any([row[reduced.shape[1] :] for row in expected])


def test_a_thin_pen_is_as_bright_as_a_thick_one() -> None:
    picture = np.zeros((400, 400), np.uint8)
    picture[50:350, 200:203] = 180
    assert normalize(picture).image.max() == 255


def test_a_speck_does_not_widen_the_box(digits: Any) -> None:
    picture = pasted(digits[0], 8, (400, 400), (100, 100))
    clean = normalize(picture).image
    picture[390, 5] = 255
    np.testing.assert_array_equal(normalize(picture).image, clean)


def test_noise_and_shade_of_a_photograph_are_ground(digits: Any) -> None:
    rng = np.random.default_rng(0)
    for digit in digits[:20]:
        picture = pasted(digit, 8, (300, 340), (30, 60))
        photograph = 210 - picture * 0.6 - np.linspace(0, 30, 340) + rng.normal(0, 4, picture.shape)
        photograph = np.clip(photograph, 0, 255).astype(np.uint8)
        found = normalize(photograph)
        assert found.inverted
        # The centre of mass may round to the next pixel.
        moved = [np.roll(normalize(picture).image, by, (0, 1)) for by in np.ndindex(3, 3)]
        likeness = [np.corrcoef(found.image.ravel(), np.roll(m, (-1, -1), (0, 1)).ravel()) for m in moved]
        assert max(pair[0, 1] for pair in likeness) > 0.95
        assert (found.image == 0).mean() > 0.85 * (normalize(picture).image == 0).mean()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (3, 200)])
def test_tiny_and_narrow_pictures_are_normalized_or_refused(shape: Any) -> None:
    picture = np.zeros(shape, np.uint8)
    with pytest.raises(DataError, match=r"no digit to see: p\.png: expected .* got 0"):
        normalize(picture, name="p.png")
    picture.flat[picture.size // 2] = 255
    if picture.size > 1:
        assert normalize(picture).image.shape == (28, 28)


@pytest.mark.parametrize("contrast", [31, 32])
def test_blank_is_what_has_less_contrast_than_paper_has_noise(contrast: int) -> None:
    picture = np.full((40, 40), 200, np.uint8)
    picture[10:30, 18:22] -= np.uint8(contrast)
    if contrast < module.LEAST_CONTRAST:
        with pytest.raises(DataError):
            normalize(picture)
    else:
        assert normalize(picture).image.max() == 255


@pytest.mark.parametrize("shape", [(1000, 1000), (100, 50_000), (3000, 90)])
def test_specks_that_vanish_in_the_reduction_are_no_digit(shape: Any) -> None:
    picture = np.full(shape, 255, np.uint8)
    picture[shape[0] // 10, shape[1] // 10] = picture[-shape[0] // 10, -shape[1] // 10] = 0
    with pytest.raises(DataError, match=r"no digit to see: p\.png: expected strokes, got specks"):
        normalize(picture, name="p.png")


def test_the_stem_of_a_seven_of_a_thin_pen_is_no_speck() -> None:
    picture = np.zeros((300, 300), np.uint8)
    picture[50, 50:200] = 255
    picture[np.arange(50, 250), 199 - np.arange(200) // 4] = 255
    image = normalize(picture).image
    rows, _ = np.nonzero(image)
    assert np.ptp(rows) + 1 == 20
    cross = np.zeros((300, 300), np.uint8)
    cross[150, 50:150] = cross[100:200, 155] = 255  # two lines that do not meet: the crossing has no ink
    assert np.ptp(np.nonzero(normalize(cross).image)) > 10
