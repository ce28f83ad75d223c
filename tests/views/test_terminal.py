"""Pictures as text: sizes, colours, characters, layout."""

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest

from mnist_softmax.views import pictures, terminal

SGR = re.compile(r"\x1b\[[0-9;]*m")
#: White above black, left; black above white, right.
CORNERS = np.array([[255, 0], [0, 255]], np.uint8)


@pytest.mark.parametrize(
    ("choice", "is_terminal", "encoding", "environment", "expected"),
    [
        ("auto", True, "utf-8", {"TERM": "xterm-256color"}, "colour"),
        ("auto", True, "utf-8", {"TERM": "xterm", "NO_COLOR": "1"}, "plain"),
        ("auto", True, "utf-8", {"TERM": "xterm", "NO_COLOR": ""}, "colour"),
        ("auto", True, "utf-8", {"TERM": "dumb"}, "plain"),
        ("auto", True, "utf-8", {}, "plain"),
        ("auto", True, "cp437", {"TERM": "xterm"}, "plain"),
        ("auto", True, "cp1252", {"TERM": "xterm"}, "plain"),
        ("auto", True, None, {"TERM": "xterm"}, "plain"),
        ("auto", False, "utf-8", {"TERM": "xterm"}, "plain"),
        ("always", False, "utf-8", {"NO_COLOR": "1"}, "colour"),
        ("always", True, "ascii", {"TERM": "xterm"}, "plain"),
        ("never", True, "utf-8", {"TERM": "xterm"}, "plain"),
    ],
)
def test_colours_are_for_terminals_that_can_show_them(
    choice: str, is_terminal: bool, encoding: Any, environment: Any, expected: str
) -> None:
    assert (
        terminal.style(choice, terminal=is_terminal, encoding=encoding, environment=environment) == expected
    )


def test_resizing_is_the_mean_of_the_area() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (6, 12))
    blocks = picture.reshape(3, 2, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(terminal.resized(picture, 3, 4), blocks)
    np.testing.assert_array_equal(terminal.resized(picture, 12, 36), np.kron(picture, np.ones((2, 3))))
    np.testing.assert_allclose(terminal.resized(picture, 5, 7).mean(), picture.mean())
    # Of three pixels in two: the first is one whole pixel and half of the next.
    np.testing.assert_allclose(terminal.resized(np.array([[0, 3, 9]]), 1, 2), [[1, 7]])


def test_resizing_a_tall_picture_takes_memory_and_time_in_proportion() -> None:
    picture = np.arange(200_000, dtype=np.float64)[:, None]
    tracemalloc.start()
    resized = terminal.resized(picture, 100_000, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_allclose(resized[:, 0], np.arange(100_000) * 2 + 0.5)
    assert peak < 10 * picture.nbytes


def test_a_cell_in_colour_is_its_upper_pixel_on_its_lower_one() -> None:
    white_on_black, black_on_white = "\x1b[38;5;231;48;5;16m▀", "\x1b[38;5;16;48;5;231m▀"
    assert terminal.digit(CORNERS, 2, "colour") == [white_on_black + black_on_white + "\x1b[0m"]


def test_the_last_line_of_an_odd_height_leaves_the_lower_half_alone() -> None:
    lines = terminal.digit(np.full((3, 2), 255, np.uint8), 2, "colour")
    assert lines[1] == "\x1b[38;5;231;49m▀▀\x1b[0m"


@pytest.mark.parametrize("value", [*range(0, 256, 5), 4, 247, 255])
def test_the_greys_of_256_colours_are_near(value: int) -> None:
    number = int(terminal.digit(np.full((1, 1), value, np.uint8), 1, "colour")[0].split(";")[2])
    shown = {16: 0, 231: 255}.get(number, 8 + 10 * (number - 232))
    assert abs(shown - value) <= 8
    assert number in {16, 231} or 232 <= number <= 255


def test_plain_characters_are_denser_where_a_digit_is_whiter() -> None:
    picture = np.repeat(np.linspace(0, 255, 10, dtype=np.uint8)[None], 2, axis=0)
    assert terminal.digit(picture, 10, "plain") == [" .:-=+*#%@"]


def test_plain_weights_for_a_class_have_more_ink_than_those_against_it() -> None:
    weights = np.array([[-4.0, -2.0, -4 / 3, -2 / 3, 0, 2 / 3, 4 / 3, 2.0, 4.0]] * 2)
    assert terminal.template(weights, 2.0, 9, "plain") == ["--:. +#@@"]


def lab(number: int) -> Any:
    """CIE L*a*b* of one of xterm's colours, from 16 on, as xterm's 256colres.h and sRGB have them."""
    steps, grey = (0, 95, 135, 175, 215, 255), 8 + 10 * (number - 232)
    n = number - 16
    levels = [grey] * 3 if number >= 232 else [steps[n // 36], steps[n // 6 % 6], steps[n % 6]]
    c = np.array(levels) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ linear / (0.9505, 1, 1.089)  # the white of D65
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_weights_in_colour_grow_lighter_in_even_steps_and_their_signs_are_far_apart() -> None:
    strengths = np.arange(-4, 5) / 4
    line = terminal.template(np.tile(strengths, (2, 1)), 1.0, 9, "colour")[0]
    colours = np.array([lab(int(number)) for number in re.findall(r"38;5;(\d+)", line)])
    against, zero, favour = colours[3::-1], colours[4], colours[5:]
    for ramp in (against, favour):
        steps = np.diff([zero[0], *ramp[:, 0]])
        assert np.abs(steps - 20).max() < 2
    np.testing.assert_allclose(against[:, 0], favour[:, 0], atol=3)
    # Orange against blue: apart along b*, which those who do not see red or green see.
    assert (favour[:, 2] - against[:, 2]).min() > 40
    assert (np.linalg.norm(favour - against, axis=1) > 40).all()


@pytest.mark.parametrize("style", ["plain", "colour"])
def test_weights_that_are_all_zero_are_drawn_as_nothing(style: terminal.Style) -> None:
    drawn, scale = pictures.templates(np.zeros((17, 3), np.float32), pictures.places((4, 4), 4))
    assert scale == 0
    line = terminal.template(drawn[0], scale, 4, style)[0]
    assert len(set(SGR.sub("", line))) == 1


def test_templates_show_what_tells_the_classes_apart() -> None:
    rng = np.random.default_rng(0)
    parameters = rng.normal(size=(7, 4)).astype(np.float32)
    places = pictures.places((2, 3), 4)
    drawn, scale = pictures.templates(parameters, places)
    assert drawn.shape == (4, 2, 3)
    np.testing.assert_allclose(drawn.sum(axis=0), 0, atol=1e-6)
    # The same number added to every class's weights of a pixel changes no probability, and no picture.
    shifted = parameters + rng.normal(size=(7, 1)).astype(np.float32)
    np.testing.assert_allclose(pictures.templates(shifted, places)[0], drawn, atol=1e-6)
    np.testing.assert_allclose(drawn[2].ravel() + parameters[:6].mean(axis=1), parameters[:6, 2], atol=1e-6)
    assert np.abs(drawn).max() >= scale > np.abs(drawn).mean()


def test_smoothing_spreads_a_weight_over_its_neighbours_and_leaves_the_bias() -> None:
    parameters = np.zeros((21, 2), np.float32)
    parameters[7, 1], parameters[20] = 16, (3, 4)
    smooth = pictures.smoothed(parameters, 4, 5)
    assert smooth.dtype == np.float32
    np.testing.assert_array_equal(smooth[20], (3, 4))
    assert not smooth[:20, 0].any()
    picture = np.zeros((4, 5))
    picture[:3, 1:4] = [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    np.testing.assert_array_equal(smooth[:20, 1].reshape(4, 5), picture)
    flat = np.full((21, 2), 3e38, np.float32)
    np.testing.assert_array_equal(pictures.smoothed(flat, 4, 5), flat)


@pytest.mark.parametrize("style", ["plain", "colour"])
@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (64, 64), (3, 50), (50, 3), (1, 1)])
@pytest.mark.parametrize("width", [1, 7, 28])
def test_a_picture_has_exactly_the_width_asked_for(style: terminal.Style, shape: Any, width: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    lines = terminal.digit(picture, width, style)
    assert {len(SGR.sub("", line)) for line in lines} == {width}
    assert len(lines) == -(-max(1, round(width * shape[0] / shape[1])) // 2)
    assert all(line.endswith("\x1b[0m") for line in lines) == (style != "plain")


@pytest.mark.parametrize(
    ("fraction", "plain", "block"),
    [(0, "", ""), (1, "#" * 8, "█" * 8), (0.5, "#" * 4, "█" * 4), (0.55, "#" * 4, "█" * 4 + "▍")],
)
def test_bars_are_as_long_as_the_fraction(fraction: float, plain: str, block: str) -> None:
    assert terminal.bar(fraction, 8, "plain") == plain
    assert SGR.sub("", terminal.bar(fraction, 8, "colour")) == block


@pytest.mark.parametrize(
    ("values", "columns", "blocks", "ascii_"),
    [
        (range(8), 80, "▁▂▃▄▅▆▇█", ".:-=*#%@"),
        (range(9), 80, "▁▂▃▄▅▆▇██", ".:-=+*#%@"),
        ([0.9, 0.5, 0.4, 0.4], 80, "█▂▁▁", "@:.."),
        ([1.0, None, 3.0], 80, "▁ █", ". @"),
        ([2.5], 80, "▅", "+"),
        ([7.0] * 3, 80, "▅▅▅", "+++"),
        ([0.0, 5e-324], 80, "▅▅", "++"),
        ([-1.7e308, 0.0, 1.7e308], 80, "▁▅█", ".+@"),
        ([None, None], 80, "  ", "  "),
        ([], 80, "", ""),
        (range(100_000), 8, "▁▂▃▄▅▆▇█", None),
        ([5, 0, 0, 0, 9], 2, "▁█", ".@"),
        (range(5), 1, "▅", "+"),
    ],
)
def test_a_sparkline_rises_and_falls_with_its_values(
    values: Any, columns: int, blocks: str, ascii_: str | None
) -> None:
    assert terminal.sparkline(values, columns, "utf-8") == blocks
    for encoding in ("ascii", "cp1252", None) if ascii_ is not None else ():
        assert terminal.sparkline(values, columns, encoding) == ascii_


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("Bag", 5, "Bag  "),
        ("Ankle boot", 5, "Ankl~"),
        ("Coat", 4, "Coat"),
        ("Coat", 1, "~"),
        ("手手手", 4, "手~ "),
        ("手手手", 6, "手手手"),
        ("e\u0301a", 3, "e\u0301a "),
    ],
)
def test_captions_have_exactly_the_width_asked_for(text: str, width: int, expected: str) -> None:
    assert terminal.fitted(text, width) == expected
    assert terminal.columns_of(expected) == width


def test_names_can_be_printed_and_hold_no_codes() -> None:
    assert terminal.printable("a\x1b[31m\n\u2028é", "utf-8") == "a\\x1b[31m\\n\\u2028é"
    assert terminal.printable("é手", "cp1252") == "é\\u624b"
    assert terminal.printable("é", None) == "\\xe9"


@pytest.mark.parametrize("columns", [1, 13, 40, 80, 200])
@pytest.mark.parametrize("lines", [1, 24, 50, float("inf")])
@pytest.mark.parametrize(
    "picture", [(10, 28, 28), (47, 28, 28), (10, 8, 8), (10, 64, 64), (1, 28, 28), (256, 2, 90)]
)
def test_a_layout_fits_the_columns_and_the_lines_where_it_can(columns: int, lines: Any, picture: Any) -> None:
    count, height, width = picture
    per_row, size = terminal.layout(
        count, height, width, captions=1, columns=columns, lines=lines, legible=14
    )
    assert 1 <= per_row <= count
    assert per_row * size + per_row - 1 <= columns
    assert size >= min(14, width, columns)
    if lines == float("inf"):
        assert size == min(columns, width * max(1, 28 // max(height, width)))


@pytest.mark.parametrize(
    ("side", "columns", "lines", "legible", "expected"),
    [
        (28, 80, 21, 14, (5, 15)),  # ten fit a terminal of 80 x 24,
        (28, 200, 47, 14, (5, 28)),  # are whole in a large one,
        (8, 200, 47, 14, (5, 24)),  # and larger than they are if they are small.
        (28, 80, 21, 39, (2, 39)),
        (28, 80, float("inf"), 39, (2, 39)),
        (28, 30, float("inf"), 39, (1, 30)),
        (8, 80, 21, 39, (2, 32)),
        (64, 80, 21, 39, (2, 39)),
        (64, 80, float("inf"), 39, (1, 64)),
    ],
)
def test_pictures_are_as_large_as_they_fit_and_never_too_small_to_see(
    side: int, columns: int, lines: float, legible: int, expected: tuple[int, int]
) -> None:
    assert expected == terminal.layout(
        10, side, side, captions=1, columns=columns, lines=lines, legible=legible
    )


def test_blocks_stand_side_by_side_whatever_their_height() -> None:
    assert terminal.beside([["ab", "cd", "ef"], ["1"]], 2) == ["ab  1", "cd", "ef"]
    assert terminal.beside([["\x1b[1mab\x1b[0m"], ["1", "2"]], 1) == ["\x1b[1mab\x1b[0m 1", "   2"]
    assert terminal.grid([["a"], ["b"], ["c"]], 2) == ["a b", "", "c"]
