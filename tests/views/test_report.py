"""``mnist-softmax report``: the page as a file. What happens in a browser is in test_report_browser.py."""

import base64
import hashlib
import html.parser
import io
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from conftest import Program, write_folder
from PIL import Image

from mnist_softmax.data.open import open_split
from mnist_softmax.data.split import Split
from mnist_softmax.errors import WeightsError
from mnist_softmax.records.receipt import Epoch
from mnist_softmax.runs.fit import train
from mnist_softmax.runs.model import Model, load
from mnist_softmax.settings import FEATURE_STEPS
from mnist_softmax.views.report import charts
from mnist_softmax.views.report import page as report_page
from mnist_softmax.views.report.png import png_address, signed_colours


class Page(html.parser.HTMLParser):
    """The page as a list of (tag, attributes), and the text in elements that have an id."""

    def __init__(self, page: Path | str) -> None:
        super().__init__()
        self.source = page if isinstance(page, str) else page.read_text(encoding="utf-8")
        self.elements: Any = []
        self.texts: Any = {}
        self.text = ""
        self.feed(self.source)

    def handle_starttag(self, tag: Any, attributes: Any) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data: Any) -> None:
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        if tag in {"script", "style"}:
            self.texts[attributes.get("id")] = self.texts.get(attributes.get("id"), "") + data
        else:
            self.text += " " + " ".join(data.split())

    def having(self, attribute: str) -> Any:
        return [attributes for _, attributes in self.elements if attribute in attributes]

    def json(self, name: str) -> Any:
        return json.loads(self.texts[name])


@pytest.fixture(scope="module")
def sample(tmp_path_factory: Any) -> Any:
    """A folder with weights trained on the sample, and the report on them."""
    folder = tmp_path_factory.mktemp("sample")
    model = train(open_split("mnist-sample"), epochs=3).save(folder / "weights.npy")
    html, _ = report_page.render(model, open_split("mnist-sample", "test"), "it was not asked for")
    (folder / "report.html").write_text(html, encoding="utf-8")
    return folder


def test_the_command_writes_the_page_of_the_library(program: Program, sample: Path) -> None:
    done = program("report", "--no-replay", "-o", "again.html", cwd=sample)
    assert (done.code, done.err) == (0, "")
    page = sample / "again.html"
    assert page.read_bytes() == (sample / "report.html").read_bytes()
    accuracy = Page(page).json("facts")["accuracy"]
    assert done.out == (
        f"again.html: accuracy {100 * accuracy:.2f} % on 2000 test rows of mnist-sample; "
        f"{page.stat().st_size / 1e6:.1f} MB, open it in a browser\n"
    )


def test_every_figure_is_that_of_eval(program: Program, sample: Path) -> None:
    facts = json.loads(program("eval", "--json", cwd=sample).out)
    page = Page(sample / "report.html")
    assert page.json("facts") == facts
    cells = page.having("data-true")
    assert cells == page.having("data-predicted")
    shown = re.findall(r'data-true="(\d)" data-predicted="(\d)">(.*?)</button>', page.source)
    for label, predicted, count in shown:
        assert facts["confusion"][int(label)][int(predicted)] == (0 if count == "·" else int(count))
    assert len(shown) == len(cells) == 100
    for value in (facts["accuracy"], facts["accuracy_low"], facts["accuracy_high"]):
        assert f"{100 * value:.2f} %" in page.text
    assert f"{facts['log_loss']:.4f}" in page.text
    for entry in facts["classes"]:
        line = f" {entry['name']} {100 * entry['precision']:.2f} % {100 * entry['recall']:.2f} % {entry['rows']:,}"
        assert line in re.sub(r" +", " ", page.text)


def test_the_page_is_one_small_file_that_needs_nothing_else(sample: Path) -> None:
    page = Page(sample / "report.html")
    assert len(page.source) < 1_000_000
    for name in ("src", "href", "xlink:href", "action", "srcset"):
        for attributes in page.having(name):
            assert attributes[name].startswith(("data:", "#")), attributes
    for tag in ("link", "iframe", "object"):
        sources = [attributes.get("href", "") for found, attributes in page.elements if found == tag]
        assert all(source.startswith("data:") for source in sources)
    style_and_script = page.texts[None]
    for word in ("http:", "https:", "@import", "url(", "fetch(", "XMLHttpRequest", "WebSocket", "import("):
        assert word not in style_and_script
    policy = next(a["content"] for a in page.having("http-equiv"))
    assert policy.startswith("default-src 'none'")
    script = page.source.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.endswith(f"script-src 'sha256-{digest}'")


def test_hooks_for_tests_are_where_they_were_promised(sample: Path) -> None:
    page = Page(sample / "report.html")
    by_id = {attributes["id"]: tag for tag, attributes in page.elements if "id" in attributes}
    kinds = {"draw": "canvas", "clear": "button", "sample": "button", "rival": "select", "answer": "select"}
    kinds |= {"learn": "button", "unlearn": "button"}
    assert {name: by_id[name] for name in kinds} == kinds
    assert "moment" not in by_id  # there is no replay
    lines = page.having("data-class")
    assert [line["data-class"] for line in lines] == [str(k) for k in range(10)]
    assert lines == page.having("data-probability")
    # An id is unique, a picture has words, a heading has its place.
    ids = [attributes["id"] for attributes in page.having("id")]
    assert len(ids) == len(set(ids))
    assert all(attributes.get("alt") for tag, attributes in page.elements if tag == "img")
    assert all(attributes.get("aria-label") for tag, attributes in page.elements if tag == "svg")
    assert [tag for tag, _ in page.elements if tag == "h1"] == ["h1"]


def test_the_weights_in_the_page_are_those_of_the_file(sample: Path) -> None:
    data = Page(sample / "report.html").json("data")
    embedded = np.frombuffer(base64.b64decode(data["weights"]), "<f4").reshape(785, 10)
    np.testing.assert_array_equal(embedded, np.load(sample / "weights.npy"))


def tiles_of(data: Any, sheet: Any = None) -> Any:
    sheet = sheet or data["digits"]["sheet"]
    picture = Image.open(io.BytesIO(base64.b64decode(sheet["picture"].partition(",")[2])))
    height, width, columns = data["height"], data["width"], sheet["columns"]
    grid = np.asarray(picture).reshape(-1, height, columns, width).swapaxes(1, 2)
    return grid.reshape(-1, height, width)


def test_the_digits_of_a_cell_are_the_rows_that_belong_there(
    program: Program, sample: Path, tmp_path: Path
) -> None:
    program("eval", "--predictions", tmp_path / "p.csv", cwd=sample)
    table = np.genfromtxt(tmp_path / "p.csv", delimiter=",", skip_header=1)
    data = Page(sample / "report.html").json("data")
    tiles, images = tiles_of(data), open_split("mnist-sample", "test").images
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (table[:, 1].astype(int), table[:, 2].astype(int)), 1)
    digits = data["digits"]
    assert set(digits["cells"]) == {f"{i},{j}" for i, j in zip(*np.nonzero(confusion), strict=True)}
    for cell, numbers in digits["cells"].items():
        label, predicted = map(int, cell.split(","))
        rows = [digits["rows"][tile] for tile in numbers]
        assert len(set(rows)) == len(rows) == min(confusion[label, predicted], 60)
        assert (table[rows, 1] == label).all()
        assert (table[rows, 2] == predicted).all()
        # The surest mistakes first; of the right answers the least sure.
        order = -table[rows, 3] if label != predicted else table[rows, 3]
        assert (np.diff(order) >= -1e-6).all()
        np.testing.assert_array_equal(tiles[numbers].reshape(len(rows), -1), images[rows])


def test_the_command_in_the_page_trains_the_same_weights_again(program: Program, tmp_path: Path) -> None:
    write_folder(tmp_path / "my data", "train", rows=300)
    write_folder(tmp_path / "my data", "test")
    first = "--lr 0.05 --momentum 0.5 --epochs 2 --seed 7 --features=deskew,directions --val-size 20 --batch-size 32 --schedule constant"
    assert program("train", "--data-dir", "my data", *first.split(), "--out", "a.npy").code == 0
    assert program("report", "a.npy").code == 0
    page = Page(tmp_path / "report.html")
    command = re.search(r"mnist-softmax (train .*? --out a\.npy)", re.sub(" +", " ", page.text))
    assert command
    before = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").unlink()
    assert program(*shlex.split(command[1]), MNIST_SOFTMAX_TRAIN_LR="9").code == 0
    assert (tmp_path / "a.npy").read_bytes() == before


def test_weights_trained_on_arrays_have_no_command(tmp_path: Path) -> None:
    images, labels = write_folder(tmp_path, "train")
    split = Split.of(images, labels)
    html, _ = report_page.render(
        train(split, epochs=1).save(tmp_path / "w.npy"), split, "it was not asked for"
    )
    text = Page(html).text
    assert "54 rows of arrays" in text
    assert "Train it again" not in text


@pytest.mark.parametrize("features", [(), ("deskew", "directions")])
@pytest.mark.parametrize(
    ("shape", "classes"),
    [({"height": 8, "width": 8}, 10), ({"height": 28, "width": 28}, 47), ({"height": 5, "width": 9}, 2)],
)
def test_any_shape_of_data_has_a_report(tmp_path: Path, shape: Any, classes: int, features: Any) -> None:
    write_folder(tmp_path / "d", "train", rows=300, classes=classes, **shape)
    write_folder(tmp_path / "d", "test", rows=100, classes=classes, **shape)
    model = train(open_split(data_dir=tmp_path / "d"), lr=0.01, epochs=1, features=features)
    page = Page(
        report_page.render(model, open_split(data_dir=tmp_path / "d", split="test"), "it was not asked for")[
            0
        ]
    )
    assert len(page.having("data-class")) == classes
    assert len(page.having("data-true")) == classes**2
    assert len(page.source) < 1_000_000
    assert tiles_of(page.json("data")).shape[1:] == (shape["height"], shape["width"])


def test_names_and_paths_cannot_break_out_of_the_page(program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "<b>&'data"
    for split in ("train", "test"):
        write_folder(folder, split, classes=2)
    program("train", "--data-dir", folder)
    model = load(tmp_path / "weights.npy")
    assert model.receipt is not None
    names = ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(2)>']
    renamed = msgspec.structs.replace(model.receipt, class_names=names)
    Model(model.array, renamed).save(tmp_path / "weights.npy")
    assert program("report").code == 0
    page = Page(tmp_path / "report.html")
    heading = page.source.split("<h1>")[1].split("</h1>")[0]
    assert "&lt;b&gt;&amp;&#39;data" in heading
    assert "<b>" not in heading.replace("<b></b>", "")
    assert page.json("data")["names"] == names
    assert [a for t, a in page.elements if t == "img" and a.get("src") == "x"] == []
    assert sum(tag == "script" for tag, _ in page.elements) == 3


@pytest.mark.parametrize("option", ["secret/project/data", "secret/project/./data/../data/"])
def test_a_page_names_a_folder_but_not_where_it_lies(option: str, program: Program, tmp_path: Path) -> None:
    (tmp_path / "secret" / "project").mkdir(parents=True)
    for split in ("train", "test"):
        write_folder(tmp_path / "secret" / "project" / "data", split)
    assert program("train", "--data-dir", tmp_path / option, "--epochs", 1).code == 0
    done = program("report")
    assert done.code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "secret" not in page
    assert str(tmp_path) not in page
    assert "images of\n      <em>data</em>" in page
    assert "--data-dir data" in re.sub("[ \n]+", " ", Page(tmp_path / "report.html").text)


def test_weights_with_no_receipt_and_no_mistakes_have_a_report_too(program: Program, tmp_path: Path) -> None:
    write_folder(tmp_path / "d", "train", rows=300)
    write_folder(tmp_path / "d", "test", rows=50, seed=1)
    Model(train(open_split(data_dir=tmp_path / "d"), epochs=30).array).save(tmp_path / "weights.npy")
    done = program("report", "--data-dir", "d")
    assert done.code == 0
    assert done.err.startswith("mnist-softmax: warning: no receipt in the weights, ")
    text = Page(tmp_path / "report.html").text
    assert "There are none." in text
    assert "no receipt" in text
    assert "Train it again" not in text


@pytest.mark.parametrize(("module", "package"), [("jinja2", "Jinja2"), ("PIL", "Pillow")])
def test_without_a_library_one_line_says_what_to_install(
    program: Program, monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = program("report")
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(
        rf"mnist-softmax: error: {package}.*pip install 'mnist-softmax\[report\]'\n", done.err
    )


@pytest.mark.parametrize("out", ["weights.npy", "weights.npy.checkpoint", "missing/r.html", "."])
def test_the_page_takes_the_place_of_nothing_that_is_read(program: Program, sample: Path, out: str) -> None:
    before = {path: path.read_bytes() for path in sample.iterdir()}
    done = program("report", "-o", out, cwd=sample)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert {path: path.read_bytes() for path in sample.iterdir()} == before


def test_every_feature_step_is_known_to_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(FEATURE_STEPS) == report_page.PORTED_STEPS
    model, split = (
        train(open_split("mnist-sample"), epochs=1, features=("deskew",)),
        open_split("mnist-sample", "test"),
    )
    monkeypatch.setattr(report_page, "PORTED_STEPS", frozenset())
    with pytest.raises(WeightsError, match="the page does not know the weights' features: got deskew"):
        report_page.render(model, split, "it was not asked for")


def test_png_and_colours_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    for shape in ((5, 7), (4, 6, 4)):
        image = rng.integers(0, 256, shape).astype(np.uint8)
        kind, data = png_address(image).split(",")
        assert kind == "data:image/png;base64"
        read = Image.open(io.BytesIO(base64.b64decode(data)))
        np.testing.assert_array_equal(np.asarray(read), image)
    colours = signed_colours(np.array([[2.0, 0.0, -0.5]]), 1.0)
    assert colours[0, :, 3].tolist() == [255, 0, 128]
    assert colours[0, 0, 0] > colours[0, 0, 2]
    assert colours[0, 2, 2] > colours[0, 2, 0]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 10, [2, 4, 6, 8, 10]),
        (0.244, 0.301, [0.25, 0.26, 0.27, 0.28, 0.29, 0.3]),
    ],
)
def test_ticks_are_round_numbers(low: Any, high: Any, expected: Any) -> None:
    assert charts.ticks(low, high) == pytest.approx(expected)


def test_losses_near_the_largest_number_are_drawn() -> None:
    history = [Epoch(1, 1.7e308, 1.6e308, None), Epoch(2, 2.5, 0.0, None), Epoch(3, 1e308, 1e-308, None)]
    lines = [("running_loss", "first", "loss"), ("validation_loss", "second", "validation loss")]
    chart = charts.curves(history, lines, "Loss", "{:.2e}")
    assert "nan" not in chart
    assert "inf" not in chart


@pytest.mark.parametrize("epochs", [1, 2, 5000])
def test_a_history_of_any_length_is_a_chart_of_bounded_size(epochs: int) -> None:
    history = [Epoch(i, 1 / i, None, None) for i in range(1, epochs + 1)]
    lines = [("running_loss", "first", "loss"), ("validation_accuracy", "second", "accuracy")]
    chart = charts.curves(history, lines, "Loss", "{:.2f}")
    assert "nan" not in chart
    assert len(chart) < 20_000
    assert f"epochs 1 to {epochs}: loss from 1.00 to {1 / epochs:.2f}" in chart
    assert charts.curves(history, lines[1:], "Accuracy", "{:.2f}") == ""
    shown = [entry.epoch for entry in charts.thinned(history)]
    assert shown == sorted(set(shown))
    assert (shown[0], shown[-1], len(shown)) == (1, epochs, min(epochs, charts.MOST_POINTS))
