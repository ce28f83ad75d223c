"""The report in a real browser: what the canvas, the script and the matrix do."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import ONE, ZERO, draw, shown
from conftest import Program, write_folder
from PIL import Image

from mnist_softmax import softmax
from mnist_softmax.data.open import open_split
from mnist_softmax.data.split import Split, one_hot
from mnist_softmax.features import deskew, directions, steps
from mnist_softmax.features.normalize import normalize
from mnist_softmax.features.prepare import prepare
from mnist_softmax.runs.fit import train
from mnist_softmax.runs.model import Model, load
from mnist_softmax.runs.reproduce import replay
from mnist_softmax.runs.score import evaluate
from mnist_softmax.views import pictures
from mnist_softmax.views.report import page as report_page


@pytest.fixture(scope="session")
def reports(tmp_path_factory: Any) -> Any:
    """A folder with plain.npy, deskewed.npy and directions.npy, trained on the sample, and a report on each."""
    folder = tmp_path_factory.mktemp("reports")
    rows, test = open_split("mnist-sample"), open_split("mnist-sample", "test")
    chains = {"plain": (), "deskewed": ("deskew",), "directions": ("deskew", "directions")}
    for name, features in chains.items():
        model = train(rows, features=features).save(folder / f"{name}.npy")
        write_page(model, test, folder / f"{name}.html", rows)
    return folder


def write_page(model: Model, split: Split, path: Path, rows: Split | None = None) -> None:
    again = replay(model, rows, split) if rows else "it was not asked for"
    html, _ = report_page.render(model, split, again)
    path.write_text(html, encoding="utf-8")


@pytest.mark.parametrize("name", ["plain", "deskewed", "directions"])
def test_a_drawn_digit_is_recognised_as_the_program_recognises_it(
    open_page: Any, reports: Path, program: Program, tmp_path: Path, name: str
) -> None:
    page = open_page(reports / f"{name}.html")
    probabilities = []
    for digit, strokes in ((1, ONE), (0, ZERO)):
        assert shown(page).tolist() == [0] * 10
        draw(page, strokes)
        probabilities.append(shown(page))
        assert shown(page).argmax() == digit
        assert page.locator("#verdict").inner_text().startswith(f"Looks like {digit}, ")
        address = page.evaluate("document.getElementById('draw').toDataURL()")
        (tmp_path / f"{digit}.png").write_bytes(base64.b64decode(address.partition(",")[2]))
        page.locator("#clear").click()
        assert page.locator("#verdict").inner_text() == "Nothing drawn yet"
    done = program("predict", "--weights", reports / f"{name}.npy", "1.png", "0.png", "--json")
    said = [json.loads(line)["probabilities"] for line in done.out.splitlines()]
    np.testing.assert_allclose(said, probabilities, atol=1e-6)


def drawn_large(rng: Any, digit: Any) -> Any:
    """A test digit, scaled and moved, in either polarity."""
    side = round(28 * rng.uniform(1.5, 6))
    big = Image.fromarray(digit).resize((side, side), Image.Resampling(int(rng.choice([0, 1, 2, 3]))))
    height, width = (int(n) for n in side + rng.integers(1, 80, 2))
    canvas = Image.new("L", (width, height))
    canvas.paste(big, (int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))))
    noise = rng.normal(0, rng.choice([0, 4]), (height, width))
    grey = np.clip(np.asarray(canvas) * 0.8 + 20 + noise, 0, 255).astype(np.uint8)
    return 255 - grey if rng.random() < 0.5 else grey


@pytest.mark.parametrize(("name", "count"), [("plain", 100), ("deskewed", 50), ("directions", 50)])
def test_script_and_program_see_the_same_image_and_say_the_same(
    open_page: Any, reports: Path, name: str, count: int
) -> None:
    page = open_page(reports / f"{name}.html")
    rng = np.random.default_rng(0)
    images = open_split("mnist-sample", "test").images
    digits = [drawn_large(rng, images[row].reshape(28, 28)) for row in rng.choice(2000, count, replace=False)]
    read = """pictures => pictures.map(([levels, height, width]) => {
        const grey = Uint8Array.from(atob(levels), c => c.charCodeAt(0));
        const { image, features, inverted, probabilities } = mnistSoftmax.read(grey, height, width);
        return { image: [...image], features: [...features], inverted, probabilities: [...probabilities] };
    })"""
    assert page.evaluate("mnistSoftmax.read(new Uint8Array(30), 5, 6)") is None  # nothing to see
    said = page.evaluate(read, [[base64.b64encode(d.tobytes()).decode(), *d.shape] for d in digits])
    model = load(reports / f"{name}.npy")
    for digit, answer in zip(digits, said, strict=True):
        normalized = normalize(digit)
        image = normalized.image.reshape(1, -1)
        if "deskew" in model.features:
            image = deskew.deskew(image, 28, 28)
        # Within 2 grey levels and 1e-3 is what is promised; both do the same sums, so it is exact.
        np.testing.assert_array_equal(answer["image"], image[0])
        if "directions" in model.features:
            image = directions.directions(image, 28, 28)
        np.testing.assert_array_equal(answer["features"], image[0])
        assert answer["inverted"] == normalized.inverted
        S = model.predict_proba(normalized.image[None])[0]
        np.testing.assert_allclose(answer["probabilities"], S, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (8, 8), (20, 31), (85, 84), (1, 1), (3, 50)])
def test_the_whole_chain_is_the_same_in_the_script(
    open_page: Any, reports: Path, height: int, width: int
) -> None:
    page = open_page(reports / "directions.html")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (4, height * width), np.uint8)
    images = np.concatenate([noise, np.where(noise > 200, 255, 0).astype(np.uint8)])
    if (height, width) == (28, 28):
        images = np.concatenate([images, open_split("mnist-sample", "test").images[:100]])
    chain = """([images, height, width]) => images.map(image => {
        const deskewed = mnistSoftmax.deskew(Uint8Array.from(image), height, width);
        return [...mnistSoftmax.directions(deskewed, height, width)];
    })"""
    found = page.evaluate(chain, [images.tolist(), height, width])
    np.testing.assert_array_equal(found, prepare(images, height, width, ("deskew", "directions")))


def test_a_picture_painted_on_the_canvas_goes_the_same_way(open_page: Any, reports: Path) -> None:
    page = open_page(reports / "plain.html")
    digit = np.kron(open_split("mnist-sample", "test").images[0].reshape(28, 28), np.ones((8, 8), np.uint8))
    file = io.BytesIO()
    Image.merge("RGB", [Image.fromarray(255 - digit)] * 3).save(file, "PNG")
    page.evaluate(
        """async address => {
            const image = new Image();
            image.src = address;
            await image.decode();
            const canvas = document.getElementById("draw"), context = canvas.getContext("2d");
            context.fillStyle = "#fff";
            context.fillRect(0, 0, 280, 280);
            context.drawImage(image, 3, 40);
            canvas.dispatchEvent(new Event("input"));
        }""",
        "data:image/png;base64," + base64.b64encode(file.getvalue()).decode(),
    )
    S = load(reports / "plain.npy").predict_proba(normalize(digit).image[None])[0]
    assert S.argmax() == 7
    np.testing.assert_allclose(shown(page), S, atol=1e-3)


def number(page: Any, name: str) -> float:
    return float(page.locator(f"#{name}").inner_text().replace("\N{MINUS SIGN}", "-"))


def picture_at(address: str) -> Any:
    """The picture of a `data:` address."""
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


def features_of_canvas(page: Any, model: Model) -> Any:
    """What a model sees of the canvas, from 0 to 1."""
    address = page.evaluate("document.getElementById('draw').toDataURL()")
    picture = np.asarray(picture_at(address).convert("L"))
    return prepare(normalize(picture).image.reshape(1, -1), 28, 28, model.features)[0] / 255


@pytest.mark.parametrize("name", ["plain", "directions"])
def test_why_the_one_and_not_the_other_adds_up(open_page: Any, reports: Path, name: str) -> None:
    page = open_page(reports / f"{name}.html")
    draw(page, ZERO)
    model = load(reports / f"{name}.npy")
    x = features_of_canvas(page, model)
    F = x @ model.array[:-1] + model.array[-1]
    assert int(page.locator("#rival").input_value()) == np.argsort(F)[-2]  # the second, unless one is chosen
    page.locator("#rival").select_option("6")
    assert page.locator("[data-class='6'] button").get_attribute("aria-pressed") == "true"
    for rival in (6, 8):
        if rival == 8:
            page.locator("[data-class='8'] button").click()
            assert page.locator("#rival").input_value() == "8"
        spoke = x * (model.array[:-1, 0] - model.array[:-1, rival])
        bias = model.array[-1, 0] - model.array[-1, rival]
        parts = [number(page, part) for part in ("for", "against", "bias", "total")]
        expected = [spoke[spoke > 0].sum(), spoke[spoke < 0].sum(), bias, F[0] - F[rival]]
        assert parts == pytest.approx(expected, abs=0.006)
        drawn = page.locator("#spoke").evaluate("canvas => canvas.toDataURL()")
        alpha = np.asarray(picture_at(drawn))[..., 3].ravel()
        places = pictures.places(steps.shape(28, 28, model.features), report_page.CELL).ravel()
        np.testing.assert_allclose(
            alpha, 255 * np.abs(np.append(spoke, 0)[places]) / np.abs(spoke).max(), atol=1
        )
    # The winner itself is no rival: arrow keys pass over it.
    assert page.locator("#rival option:disabled").evaluate_all("options => options.map(o => o.value)") == [
        "0"
    ]
    page.locator("[data-class='0'] button").click()
    assert int(page.locator("#rival").input_value()) == np.argsort(F)[-2]


@pytest.mark.parametrize("name", ["plain", "deskewed", "directions"])
def test_one_step_is_the_gradient_of_the_program(open_page: Any, reports: Path, name: str) -> None:
    page = open_page(reports / f"{name}.html")
    assert page.locator("#learn").is_disabled()
    draw(page, ONE)
    model = load(reports / f"{name}.npy")
    assert model.receipt is not None
    settings = model.receipt.hyperparameters
    x, before = features_of_canvas(page, model)[None], model.array.astype(np.float64)
    page.locator("#answer").select_option("4")
    Y = one_hot(np.array([4]), 10)
    weights = "() => [...mnistSoftmax.weights()]"
    for _ in range(2):
        loss = softmax.cross_entropy(softmax.logits(x, before[:-1], before[-1]), Y)
        assert float(page.locator("#learn").get_attribute("data-loss")) == pytest.approx(loss, abs=1e-6)
        dW, dB = softmax.gradient(x, Y, before[:-1], before[-1], settings.reg)
        page.locator("#learn").click()
        after = np.array(page.evaluate(weights)).reshape(before.shape)
        np.testing.assert_allclose(after, before - settings.lr * np.vstack([dW, dB]), rtol=0, atol=1e-6)
        before = after
    assert shown(page).argmax() == 4
    # The other rows pay for it, and the page says so.
    page.locator("#others:has-text('before')").wait_for()
    samples = json.loads(page.locator("#data").text_content())["samples"]
    split = open_split("mnist-sample", "test")
    rows = np.array(samples["rows"])
    stored = prepare(split.images[rows], 28, 28, model.features) / 255
    right = [(stored @ V[:-1] + V[-1]).argmax(axis=1) == split.labels[rows] for V in (before, model.array)]
    for accuracy in right:
        assert f"{100 * accuracy.mean():.2f} %" in page.locator("#others").inner_text()
    # What it was before comes back.
    page.locator("#unlearn").click()
    np.testing.assert_array_equal(page.evaluate(weights), model.array.ravel())
    assert shown(page).argmax() == 1
    assert page.locator("#unlearn").is_disabled()


def take(page: Any, count: int) -> Any:
    """Take some of the page's rows at random: row, label, eval's answer, the page's own answer, what it says."""
    return page.evaluate(
        """async count => {
        const seen = [], draw = document.getElementById("draw");
        for (let i = 0; i < count; i++) {
            delete draw.dataset.row;
            document.getElementById("sample").click();
            while (draw.dataset.row === undefined) await new Promise(requestAnimationFrame);
            const S = [...document.querySelectorAll("[data-class]")].map(line => +line.dataset.probability);
            const { row, label, predicted } = draw.dataset;
            seen.push([+row, +label, +predicted, S.indexOf(Math.max(...S)), document.getElementById("truth").textContent]);
        }
        return seen;
    }""",
        count,
    )


def check_rows(page: Any, model: Model, split: Split, count: int) -> None:
    predicted = evaluate(model, split).predicted
    taken = take(page, count)
    assert len({row for row, *_ in taken}) > count / 2  # at random
    for row, label, said, shown_as, truth in taken:
        assert (label, said, shown_as) == (split.labels[row], predicted[row], predicted[row])
        assert truth.endswith(": right." if said == label else ": wrong.")


@pytest.mark.parametrize("name", [pytest.param("plain", marks=pytest.mark.long), "deskewed", "directions"])
def test_rows_of_the_data_are_read_as_eval_reads_them(open_page: Any, reports: Path, name: str) -> None:
    page, split = open_page(reports / f"{name}.html"), open_split("mnist-sample", "test")
    check_rows(page, load(reports / f"{name}.npy"), split, 100)


@pytest.mark.parametrize(
    ("side", "classes", "features"),
    [
        (8, 10, ("directions",)),
        (28, 47, ("deskew",)),
        pytest.param(8, 10, (), marks=pytest.mark.long),
        pytest.param(8, 10, ("deskew",), marks=pytest.mark.long),
        pytest.param(28, 47, (), marks=pytest.mark.long),
        pytest.param(28, 47, ("deskew", "directions"), marks=pytest.mark.long),
    ],
)
def test_rows_of_other_data_are_read_as_eval_reads_them(
    open_page: Any, tmp_path: Path, side: int, classes: int, features: Any
) -> None:
    shape: Any = {"height": side, "width": side, "classes": classes}
    write_folder(tmp_path / "d", "train", rows=300, **shape)
    write_folder(tmp_path / "d", "test", rows=600, seed=1, **shape)
    model = train(open_split(data_dir=tmp_path / "d"), epochs=1, lr=1e-3, features=features)  # not yet good
    split = open_split(data_dir=tmp_path / "d", split="test")
    write_page(model, split, tmp_path / "report.html")
    check_rows(open_page(tmp_path / "report.html"), model, split, 50)


def test_a_row_is_forgotten_when_something_is_drawn(open_page: Any, reports: Path) -> None:
    page = open_page(reports / "plain.html")
    page.locator("#sample").click()
    page.locator("#draw[data-row]").wait_for()
    assert page.locator("#answer").input_value() == page.locator("#draw").get_attribute("data-label")
    draw(page, ONE)
    assert page.locator("#draw").get_attribute("data-row") is None
    assert page.locator("#truth").inner_text() == ""


def test_a_tap_makes_a_dot_and_the_page_asks_for_more(open_page: Any, reports: Path) -> None:
    page = open_page(reports / "plain.html")
    box = page.locator("#draw").bounding_box()
    page.locator("#draw").click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    inked = "draw.getContext('2d').getImageData(140, 140, 1, 1).data[0]"
    assert page.evaluate(inked) == 255
    assert page.locator(".hint").is_hidden()
    assert page.locator("#truth").inner_text().startswith("Draw larger")
    page.locator("#clear").click()
    draw(page, ZERO)
    assert page.locator("#truth").inner_text() == ""
    page.locator("#clear").click()
    page.locator("#draw").focus()
    page.keyboard.press(" ")
    assert page.evaluate("draw.getContext('2d').getImageData(140, 70, 1, 1).data[0]") == 255


def test_a_click_ends_the_line_of_the_keyboard(open_page: Any, reports: Path) -> None:
    page = open_page(reports / "plain.html")
    page.locator("#draw").focus()
    page.keyboard.press(" ")
    box = page.locator("#draw").bounding_box()
    page.locator("#draw").click(position={"x": box["width"] / 2, "y": 0.9 * box["height"]})
    before = page.evaluate("draw.toDataURL()")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("draw.toDataURL()") == before


def test_the_stages_of_any_shape_are_what_the_features_make(open_page: Any, tmp_path: Path) -> None:
    shape: Any = {"height": 50, "width": 84, "classes": 2}
    write_folder(tmp_path / "d", "train", rows=40, **shape)
    images, _ = write_folder(tmp_path / "d", "test", rows=1, seed=1, **shape)
    model = train(open_split(data_dir=tmp_path / "d"), epochs=1, features=("deskew", "directions"))
    write_page(model, open_split(data_dir=tmp_path / "d", split="test"), tmp_path / "report.html")
    page = open_page(tmp_path / "report.html")
    page.locator("#sample").click()
    page.locator("#draw[data-row]").wait_for()
    flat = images.reshape(1, -1)
    places = pictures.places(steps.shape(50, 84, model.features), report_page.CELL)
    edges = np.append(prepare(flat, 50, 84, ("deskew", "directions"))[0], 0)[places]
    stages = [images[0], prepare(flat, 50, 84, ("deskew",)).reshape(50, 84), edges]
    for number, stage in enumerate(stages):
        address = page.locator(f"[data-stage='{number}']").evaluate("canvas => canvas.toDataURL()")
        np.testing.assert_array_equal(np.asarray(picture_at(address))[..., 3], stage)


@pytest.mark.parametrize("name", ["plain", "directions"])
def test_the_replay_shows_the_moments_of_training(open_page: Any, reports: Path, name: str) -> None:
    page = open_page(reports / f"{name}.html")
    model, split = load(reports / f"{name}.npy"), open_split("mnist-sample", "test")
    moments = replay(model, open_split("mnist-sample"), split).moments
    slider = page.locator("#moment")
    assert (slider.get_attribute("max"), slider.input_value()) == (
        str(len(moments) - 1),
        str(len(moments) - 1),
    )
    trained = page.locator("[data-template='3']").get_attribute("src")
    places = pictures.places(steps.shape(28, 28, model.features), report_page.CELL)
    _, scale = pictures.templates(model.array, places)
    for at in (0, 1, 7, len(moments) - 2):
        slider.fill(str(at))
        text = page.locator("#figures").inner_text()
        assert f"loss {moments[at].loss:.4f}, accuracy {100 * moments[at].accuracy:.2f} %" in text
        assert slider.get_attribute("aria-valuetext") == text
        drawn = page.locator("[data-template='3']").get_attribute("src")
        alpha = np.asarray(picture_at(drawn))[..., 3]
        strength = np.minimum(np.abs(pictures.templates(moments[at].parameters, places)[0][3]) / scale, 1)
        np.testing.assert_allclose(alpha / 255, strength, atol=0.03)  # of 8 bits
    page.locator("#play").click()
    page.locator("#play:has-text('Pause')").wait_for()
    page.locator("#play:has-text('Watch')").wait_for(timeout=30_000)
    assert slider.input_value() == str(len(moments) - 1)
    last = page.locator("[data-template='3']").get_attribute("src")
    before, after = (np.asarray(picture_at(address))[..., 3] / 255 for address in (trained, last))
    np.testing.assert_allclose(after, before, atol=0.01)
    assert "trained again from their receipt: the same bits" in page.locator("#learned .note").inner_text()


def test_one_sign_can_be_shown_alone(open_page: Any, reports: Path) -> None:
    page = open_page(reports / "plain.html")
    for sign, shown_colours in (("0", {"for", "against"}), ("1", {"for"}), ("-1", {"against"})):
        page.locator("#sign").select_option(sign)
        drawn = page.locator("[data-template='3']").get_attribute("src")
        pixels = np.asarray(picture_at(drawn)).reshape(-1, 4)
        seen = pixels[pixels[:, 3] > 40].astype(int)
        assert {"for" if red > blue else "against" for red, _, blue, _ in seen} == shown_colours


def test_the_matrix_shows_per_cent_of_the_row(open_page: Any, reports: Path) -> None:
    page = open_page(reports / "plain.html")
    confusion = evaluate(load(reports / "plain.npy"), open_split("mnist-sample", "test")).confusion
    page.locator("#unit").select_option("share")
    shown_texts = page.locator("[data-true='4']").all_inner_texts()
    for text, count in zip(shown_texts, confusion[4], strict=True):
        share = 100 * count / confusion[4].sum()
        assert text == "·" if count == 0 else abs(float(text) - share) <= (0.0501 if share < 9.95 else 0.501)
    page.locator("#unit").select_option("count")
    assert page.locator("[data-true='4'][data-predicted='4']").inner_text() == str(confusion[4][4])


def test_a_click_on_a_cell_shows_its_digits(open_page: Any, reports: Path) -> None:
    page = open_page(reports / "plain.html")
    confusion = evaluate(load(reports / "plain.npy"), open_split("mnist-sample", "test")).confusion
    assert page.locator("#cell canvas").count() == 0
    for label, predicted in ((4, 9), (3, 5), (1, 1)):
        page.locator(f"[data-true='{label}'][data-predicted='{predicted}']").click()
        page.locator(f"#cell h3:has-text('{confusion[label][predicted]}')").wait_for()
        pixels = """canvases => canvases.map(
            c => [...c.getContext("2d").getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0))"""
        digits = np.array(page.locator("#cell canvas:not(.average)").evaluate_all(pixels))
        assert len(digits) == min(confusion[label][predicted], 60) > 0
        assert (digits.max(axis=1) > 200).all()
        alpha = (
            """c => [...c.getContext("2d").getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 3)"""
        )
        average = page.locator("#cell canvas.average").evaluate(alpha)
        np.testing.assert_allclose(average, digits.mean(axis=0), atol=1)


def test_the_page_works_by_keyboard_alone(open_page: Any, reports: Path) -> None:
    page = open_page(reports / "plain.html")
    page.locator("#draw").focus()
    page.keyboard.press(" ")
    for _ in range(16):
        page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    assert shown(page).argmax() == 1
    assert "Looks like 1" in page.locator("#verdict").inner_text()
    page.keyboard.press("Delete")
    assert shown(page).max() == 0
    page.locator("#sample").focus()
    page.keyboard.press("Enter")
    page.locator("#truth:has-text('Row ')").wait_for()
    assert shown(page).sum() == pytest.approx(1)
    page.locator("[data-true='0'][data-predicted='0']").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator("#cell canvas").first.wait_for()
    assert (
        page.locator("[data-true][aria-pressed=true]").get_attribute("aria-label").startswith("1 read as 1")
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_window_scrolls_sideways_and_text_can_be_read(open_page: Any, reports: Path, scheme: Any) -> None:
    page = open_page(reports / "plain.html", color_scheme=scheme)
    for width in (1200, 800, 400, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    colours = page.evaluate(
        """[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]
            .map(c => c.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 3)"""
    )
    ink, ground = colours if scheme == "light" else reversed(colours)
    assert ground - ink > 180


def test_a_finger_draws_too(open_page: Any, reports: Path) -> None:
    page = open_page(reports / "plain.html", viewport={"width": 400, "height": 800}, has_touch=True)
    page.locator("#draw").scroll_into_view_if_needed()
    box = page.locator("#draw").bounding_box()
    touch = page.context.new_cdp_session(page)

    def send(kind: Any, y: float = 0) -> None:
        points = (
            []
            if kind == "touchEnd"
            else [{"x": box["x"] + box["width"] / 2, "y": box["y"] + y * box["height"]}]
        )
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    before = page.evaluate("scrollY")
    send("touchStart", 0.2)
    for y in np.linspace(0.25, 0.8, 12):
        send("touchMove", y)
    send("touchEnd")
    assert shown(page).argmax() == 1
    assert page.evaluate("scrollY") == before


@pytest.mark.parametrize(("side", "classes"), [(8, 10), (28, 47)])
def test_other_shapes_of_data_work_too(
    open_page: Any, program: Program, tmp_path: Path, side: int, classes: int
) -> None:
    write_folder(tmp_path / "d", "train", rows=300, height=side, width=side, classes=classes)
    write_folder(tmp_path / "d", "test", rows=100, height=side, width=side, classes=classes)
    model = train(open_split(data_dir=tmp_path / "d"), lr=0.01, epochs=1).save(tmp_path / "weights.npy")
    write_page(model, open_split(data_dir=tmp_path / "d", split="test"), tmp_path / "report.html")
    page = open_page(tmp_path / "report.html", viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    draw(page, ZERO)
    assert shown(page).shape == (classes,)
    assert shown(page).sum() == pytest.approx(1)
    address = page.evaluate("document.getElementById('draw').toDataURL()")
    (tmp_path / "drawn.png").write_bytes(base64.b64decode(address.partition(",")[2]))
    done = program("predict", "drawn.png", "--json")
    np.testing.assert_allclose(json.loads(done.out)["probabilities"], shown(page), atol=1e-5)
