"""Who can use the report: axe-core's rules, small screens, forced colours, print, and the keyboard alone."""

import importlib.util
import io
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import ONE, draw, shown
from conftest import run_here, write_folder
from PIL import Image

LONG = pytest.mark.long
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
#: Other reports than the first two differ little, so those take their turn with the long tests.
REPORTS = (
    "plain",
    "many",
    *(pytest.param(name, marks=LONG) for name in ("directions", "once", "bare", "small")),
)
#: Levels A and AA of WCAG 2.2, as axe-core names them.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@pytest.fixture(scope="session")
def report(tmp_path_factory: Any) -> Any:
    """The path of a report: plain, directions, once (one epoch), bare (no receipt), many (47 classes), small (8 x 8)."""
    folder = tmp_path_factory.mktemp("access")
    training: Any = {"directions": ["--features", "deskew,directions"], "once": ["--epochs", 1]}

    @cache
    def made(name: str) -> Path:
        source: Any = ["--dataset", "mnist-sample"]
        if name in {"many", "small"}:
            side, classes = (28, 47) if name == "many" else (8, 10)
            source = ["--data-dir", folder / name]
            write_folder(folder / name, "train", rows=600, height=side, width=side, classes=classes)
            write_folder(folder / name, "test", rows=300, height=side, width=side, classes=classes, seed=1)
        weights = f"{name}.npy"
        done = run_here(["train", *source, "--out", weights, *training.get(name, ["--epochs", 3])], folder)
        assert done.code == 0, done.err
        if name == "bare":
            np.save(folder / weights, np.load(folder / weights))
        done = run_here(["report", *source, weights, "--out", f"{name}.html"], folder)
        assert done.code == 0, done.err
        return Path(folder, f"{name}.html")

    return made


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core as one script."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-core is not installed: it is in the dependency group `browser`")
    return Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def use(page: Any) -> None:
    """Draw, choose a cell, and unfold what is folded."""
    draw(page, ONE)
    page.wait_for_selector("#verdict:not(:text('Nothing drawn yet'))")
    page.locator("[data-true='0'][data-predicted='0']").click()
    page.wait_for_selector("#cell :is(canvas, img)")
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")


def violations(page: Any, axe: str) -> Any:
    """What axe-core finds: (rule, element, why). Of 47 rows of equal cells it sees five: all would take minutes."""
    # Evaluated by the debugger, so that the page's Content-Security-Policy does not forbid it.
    page.evaluate(axe)
    found = page.evaluate(
        """rules => axe.run(
            { include: document, exclude: "tr:nth-child(n + 6):has([data-true])" },
            { runOnly: { type: "tag", values: rules }, resultTypes: ["violations"] },
        )""",
        RULES,
    )
    assert len(found["passes"]) > 20, "the rules were applied"
    return [(v["id"], n["html"], n["failureSummary"]) for v in found["violations"] for n in v["nodes"]]


@pytest.mark.parametrize(
    ("name", "viewport", "colours"),
    [
        ("plain", DESKTOP, "light"),
        ("directions", PHONE, "dark"),
        ("many", PHONE, "light"),
        pytest.param("plain", PHONE, "dark", marks=LONG),
        pytest.param("plain", DESKTOP, "forced", marks=LONG),
        pytest.param("once", DESKTOP, "dark", marks=LONG),
        pytest.param("bare", PHONE, "dark", marks=LONG),
        pytest.param("small", DESKTOP, "dark", marks=LONG),
    ],
)
def test_axe_finds_nothing(
    open_page: Any, report: Any, axe: str, name: str, viewport: Any, colours: Any
) -> None:
    scheme, forced = ("dark", "active") if colours == "forced" else (colours, "none")
    page = open_page(report(name), viewport=viewport, color_scheme=scheme, forced_colors=forced)
    if (name, colours) == ("plain", "light"):
        assert violations(page, axe) == []
    use(page)
    assert violations(page, axe) == []


@pytest.mark.parametrize("name", ["plain", pytest.param("many", marks=LONG)])
@pytest.mark.parametrize("size", [(390, 844), (844, 390), (640, 400)], ids=["upright", "flat", "zoomed"])
def test_canvas_and_answer_fit_in_one_screen(open_page: Any, report: Any, name: str, size: Any) -> None:
    width, height = size
    touch = {} if width == 640 else {"has_touch": True, "is_mobile": True}
    page = open_page(report(name), viewport={"width": width, "height": height}, **touch)
    draw(page, ONE)
    page.wait_for_selector("#verdict:not(:text('Nothing drawn yet'))")
    winner = f"[data-class='{shown(page).argmax()}']"
    top, boxes = page.evaluate(
        """selectors => {
            const draw = document.getElementById("draw");
            draw.scrollIntoView({ block: "start", behavior: "instant" });
            const above = [...document.querySelectorAll("*")].filter(element => {
                const { top, bottom } = element.getBoundingClientRect(), { position } = getComputedStyle(element);
                return ["sticky", "fixed"].includes(position) && top <= 0 && bottom > 0 && element.offsetHeight;
            });
            const covered = Math.max(0, ...above.map(element => element.getBoundingClientRect().bottom));
            scrollBy({ top: draw.getBoundingClientRect().top - covered, behavior: "instant" });
            return [covered, selectors.map(selector => {
                const { top, bottom, left, right } = document.querySelector(selector).getBoundingClientRect();
                return { selector, top, bottom, left, right };
            })];
        }""",
        ["#draw", "#verdict", winner],
    )
    cut = [b for b in boxes if not (top - 2 <= b["top"] and b["bottom"] <= height and b["left"] >= 0)]
    assert cut == []
    assert max(b["right"] for b in boxes) <= width


def test_the_page_scrolls_where_the_answer_is_off_the_screen(open_page: Any, report: Any) -> None:
    page = open_page(report("plain"), viewport={"width": 360, "height": 560}, has_touch=True)
    page.locator("#draw").evaluate("draw => draw.scrollIntoView({ block: 'end' })")
    draw(page, ONE)
    for place in ("#draw", "#verdict", ".win"):
        box = page.locator(place).bounding_box()
        assert box["y"] >= -1, place
        assert box["y"] + box["height"] <= 560, place


def test_a_phone_held_flat_scrolls_beside_the_canvas(open_page: Any, report: Any) -> None:
    page = open_page(report("plain"), viewport={"width": 844, "height": 390}, has_touch=True, is_mobile=True)
    page.locator("#draw").evaluate("draw => draw.scrollIntoView({ block: 'center', behavior: 'instant' })")
    box = page.locator("#draw").bounding_box()
    sides = ((0, box["x"]), (box["x"] + box["width"], 844))
    left, right = max(sides, key=lambda side: side[1] - side[0])
    assert right - left > 100, "there is room for a thumb"
    touch, before = page.context.new_cdp_session(page), page.evaluate("scrollY")
    for kind, y in (
        ("touchStart", 300),
        *(("touchMove", y) for y in range(290, 100, -10)),
        ("touchEnd", None),
    ):
        points = [] if y is None else [{"x": (left + right) / 2, "y": y}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.wait_for_timeout(200)
    assert page.evaluate("scrollY") > before + 100
    assert page.locator("#verdict").inner_text() == "Nothing drawn yet"


def inked(picture: Any, ground: Any) -> Any:
    """How many pixels differ from the ground."""
    return int((np.abs(picture.astype(int) - ground).max(axis=2) > 40).sum())


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=LONG), "dark"])
@pytest.mark.parametrize("name", [pytest.param("plain", marks=LONG), "directions"])
def test_forced_colours_leave_pictures_and_bars_visible(
    open_page: Any, report: Any, name: str, scheme: Any
) -> None:
    page = open_page(report(name), forced_colors="active", color_scheme=scheme)
    use(page)

    def pixels(place: Any) -> Any:
        return np.asarray(Image.open(io.BytesIO(place.screenshot())).convert("RGB"))

    for place in (
        *page.locator("main img").all()[::7],
        page.locator("#seen"),
        page.locator("#cell canvas").first,
    ):
        assert len(np.unique(pixels(place).reshape(-1, 3), axis=0)) > 2, place
    likely, unlikely = (pixels(page.locator(f"[data-class='{k}']")) for k in np.argsort(shown(page))[[-1, 0]])
    colours, count = np.unique(unlikely.reshape(-1, 3), axis=0, return_counts=True)
    ground = colours[count.argmax()]
    assert inked(likely, ground) > inked(unlikely, ground) + 300, "the bar of the most likely class"


@pytest.mark.parametrize("name", REPORTS)
def test_whatever_scrolls_can_be_reached_with_the_keyboard(open_page: Any, report: Any, name: str) -> None:
    page = open_page(report(name), viewport=PHONE)
    use(page)
    scrolling, unreachable = page.evaluate("""() => {
        const scrolling = [...document.body.querySelectorAll("*")].filter(element => {
            const { overflowX, overflowY } = getComputedStyle(element), scrolls = /auto|scroll/;
            return (scrolls.test(overflowX) && element.scrollWidth > element.clientWidth)
                || (scrolls.test(overflowY) && element.scrollHeight > element.clientHeight);
        });
        const inside = "a[href], button:enabled, input:enabled, select:enabled, summary, [tabindex]";
        const reached = element => element.tabIndex >= 0
            || [...element.querySelectorAll(inside)].some(within => within.tabIndex >= 0);
        return [scrolling.length, scrolling.filter(element => !reached(element)).map(element => element.outerHTML)];
    }""")
    assert unreachable == []
    assert scrolling or name != "many", "47 columns do not fit"


@pytest.mark.parametrize("name", ["plain", pytest.param("many", marks=LONG)])
def test_one_element_speaks_to_screen_readers(open_page: Any, report: Any, name: str) -> None:
    page = open_page(report(name))
    use(page)
    live = "[aria-live]:not([aria-live=off]), [role=status], [role=alert], [role=log], output"
    assert page.locator(live).count() == 1
    # It speaks once a stroke, and says the answer.
    page.evaluate("""() => {
        window.spoken = [];
        const said = document.getElementById("said");
        new MutationObserver(() => spoken.push(said.textContent)).observe(said, { childList: true });
    }""")
    page.locator("#clear").click()
    draw(page, ONE)
    cleared, drawn = page.evaluate("spoken")
    assert cleared.startswith("Nothing drawn yet")
    assert drawn.startswith(page.locator("#verdict").inner_text())


@pytest.mark.parametrize("name", ["plain", pytest.param("directions", marks=LONG)])
def test_print_takes_four_pages_and_cuts_nothing(open_page: Any, report: Any, name: str) -> None:
    page = open_page(report(name), viewport={"width": 718, "height": 1000})  # A4 with margins of 1 cm
    use(page)
    page.emulate_media(media="print")
    margins = dict.fromkeys(("top", "bottom", "left", "right"), "1cm")
    pdf = page.pdf(format="A4", margin=margins)
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 4
    shading = "cell => getComputedStyle(cell).printColorAdjust"
    assert page.locator("[data-true]").first.evaluate(shading) == "exact"
    cut = page.evaluate("""() => [...document.body.querySelectorAll("*")].filter(element => {
        const { left, right, width, height } = element.getBoundingClientRect(), style = getComputedStyle(element);
        if (width <= 1 || height <= 1 || style.visibility === "hidden") return false; // for screen readers alone
        const hides = style.overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1;
        return left < 0 || right > innerWidth || hides;
    }).map(element => element.outerHTML.slice(0, 200))""")
    assert cut == []


def tab_to(page: Any, selector: str) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(400):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"Tab does not reach {selector}")


def state(page: Any) -> Any:
    """What the page shows: its words, its values and its pictures."""
    return page.evaluate("""() => [
        document.querySelector("main").innerText,
        ...[...document.querySelectorAll("canvas")].map(canvas => canvas.toDataURL()),
        ...[...document.querySelectorAll("main img")].map(image => image.src),
    ]""")


def number(page: Any, selector: str, name: str) -> float:
    return float(page.locator(selector).get_attribute(name))


@pytest.mark.parametrize("name", [pytest.param("plain", marks=LONG), "directions"])
def test_the_keyboard_alone_does_everything(open_page: Any, report: Any, name: str) -> None:
    from playwright.sync_api import expect

    page = open_page(report(name))

    def press(*keys: str) -> None:
        """Press keys, and let the page draw what they changed."""
        for key in keys:
            page.keyboard.press(key)
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    tab_to(page, "#draw")
    press(" ", *["ArrowDown"] * 16, " ")
    assert shown(page).argmax() == 1
    tab_to(page, "#clear")
    press("Enter")
    assert shown(page).max() == 0

    tab_to(page, "#sample")
    press("Enter")
    page.wait_for_selector("#draw[data-row]")
    assert shown(page).sum() == pytest.approx(1)
    assert shown(page).argmax() == number(page, "#draw", "data-predicted")

    for select in ("#rival", "#answer"):
        tab_to(page, select)
        chosen, before = page.locator(select).input_value(), state(page)
        press("ArrowDown" if chosen < "5" else "ArrowUp")
        assert page.locator(select).input_value() != chosen
        assert state(page) != before, select

    before = number(page, "#learn", "data-loss")
    tab_to(page, "#learn")
    press("Enter")
    assert number(page, "#learn", "data-loss") < before
    tab_to(page, "#unlearn")
    press("Enter")
    assert number(page, "#learn", "data-loss") == pytest.approx(before)

    tab_to(page, "#moment")
    press("Home")
    first = state(page)
    press("ArrowRight")
    assert page.locator("#moment").input_value() == "1"
    assert state(page) != first
    tab_to(page, "#play")
    press("Enter")
    expect(page.locator("#moment")).not_to_have_value("1")

    tab_to(page, "[data-true][data-predicted]")
    press("ArrowRight", "ArrowDown", "Enter")
    page.wait_for_selector("#cell canvas")
    assert page.locator("[data-true][aria-pressed=true]").get_attribute("data-true") == "1"
