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
        ("auto", True, "utf-8", {"TERM": "xterm-256color"}, "256"),
        ("auto", True, "utf-8", {"TERM": "xterm", "COLORTERM": "truecolor"}, "truecolour"),
        ("auto", True, "utf-8", {"TERM": "xterm-direct"}, "truecolour"),
        ("auto", True, "utf-8", {"TERM": "xterm", "NO_COLOR": "1"}, "plain"),
        ("auto", True, "utf-8", {"TERM": "xterm", "NO_COLOR": ""}, "256"),
        ("auto", True, "utf-8", {"TERM": "dumb"}, "plain"),
        ("auto", True, "utf-8", {}, "plain"),
        ("auto", True, "cp437", {"TERM": "xterm"}, "plain"),
        ("auto", True, "cp1252", {"TERM": "xterm"}, "plain"),
        ("auto", True, None, {"TERM": "xterm"}, "plain"),
        ("auto", False, "utf-8", {"TERM": "xterm"}, "plain"),
        ("always", False, "utf-8", {"NO_COLOR": "1"}, "256"),
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
    white_on_black = "\x1b[38;2;255;255;255;48;2;0;0;0m▀"
    black_on_white = "\x1b[38;2;0;0;0;48;2;255;255;255m▀"
    assert terminal.digit(CORNERS, 2, "truecolour") == [white_on_black + black_on_white + "\x1b[0m"]
    assert terminal.digit(CORNERS, 2, "256") == ["\x1b[38;5;231;48;5;16m▀\x1b[38;5;16;48;5;231m▀\x1b[0m"]


def test_the_last_line_of_an_odd_height_leaves_the_lower_half_alone() -> None:
    lines = terminal.digit(np.full((3, 2), 255, np.uint8), 2, "truecolour")
    assert lines[1] == "\x1b[38;2;255;255;255;49m▀▀\x1b[0m"


@pytest.mark.parametrize("value", [*range(0, 256, 5), 4, 247, 255])
def test_the_greys_of_256_colours_are_near(value: int) -> None:
    number = int(terminal.digit(np.full((1, 1), value, np.uint8), 1, "256")[0].split(";")[2])
    shown = {16: 0, 231: 255}.get(number, 8 + 10 * (number - 232))
    assert abs(shown - value) <= 8
    assert number in {16, 231} or 232 <= number <= 255


def test_plain_characters_are_denser_where_a_digit_is_whiter() -> None:
    picture = np.repeat(np.linspace(0, 255, 10, dtype=np.uint8)[None], 2, axis=0)
    assert terminal.digit(picture, 10, "plain") == [" .:-=+*#%@"]


def test_weights_for_and_against_cannot_be_mistaken() -> None:
    weights = np.array([[-4.0, -2.0, -1.0, 0, 1.0, 2.0, 4.0]] * 2)
    assert terminal.template(weights, 2.0, 7, "plain") == ["==- *##"]
    colours = re.findall(r"38;2;(\d+);(\d+);(\d+);", terminal.template(weights, 2.0, 7, "truecolour")[0])
    reds_and_blues = [(int(red), int(blue)) for red, _, blue in colours]
    assert all(blue > red for red, blue in reds_and_blues[:2])
    assert all(red > blue for red, blue in reds_and_blues[-2:])
    brightness = [sum(map(int, colour)) for colour in colours]
    assert brightness.index(min(brightness)) == len(brightness) // 2


@pytest.mark.parametrize("style", ["plain", "256", "truecolour"])
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


@pytest.mark.parametrize("style", ["plain", "256", "truecolour"])
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
    assert SGR.sub("", terminal.bar(fraction, 8, "256")) == block


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
    per_row, size = terminal.layout(count, height, width, captions=1, columns=columns, lines=lines)
    assert 1 <= per_row <= count
    assert per_row * size + per_row - 1 <= columns
    assert size >= min(14, width, columns)
    if lines == float("inf"):
        assert size == min(columns, width * max(1, 28 // max(height, width)))


def test_ten_digits_fit_a_terminal_of_80_by_24_and_are_whole_in_a_large_one() -> None:
    assert terminal.layout(10, 28, 28, captions=1, columns=80, lines=21) == (5, 15)
    assert terminal.layout(10, 28, 28, captions=1, columns=200, lines=47) == (5, 28)
    assert terminal.layout(10, 8, 8, captions=1, columns=200, lines=47) == (5, 24)


def test_blocks_stand_side_by_side_whatever_their_height() -> None:
    assert terminal.beside([["ab", "cd", "ef"], ["1"]], 2) == ["ab  1", "cd", "ef"]
    assert terminal.beside([["\x1b[1mab\x1b[0m"], ["1", "2"]], 1) == ["\x1b[1mab\x1b[0m 1", "   2"]
    assert terminal.grid([["a"], ["b"], ["c"]], 2) == ["a b", "", "c"]
