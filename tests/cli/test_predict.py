"""``mnist-softmax predict`` on real picture files: formats, polarity, what fails, what it prints."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.receipts import receipt_of, strip
from conftest import Program, clean_environment, run_here, write_folder
from PIL import Image

from mnist_softmax.data.folder import folder_split
from mnist_softmax.data.open import open_split
from mnist_softmax.features import decode
from mnist_softmax.features.deskew import deskew
from mnist_softmax.features.normalize import normalize
from mnist_softmax.scoring import metrics


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights trained on the sample, by path."""
    folder = tmp_path_factory.mktemp("model")
    assert run_here(["train", "--dataset", "mnist-sample"], folder).code == 0
    return folder / "weights.npy"


@pytest.fixture(scope="module")
def seven() -> Any:
    """A picture of a 7, light on dark: (220, 300) uint8."""
    picture = np.zeros((220, 300), np.uint8)
    row = open_split("mnist-sample", "test").images[0]
    picture[20:188, 90:258] = np.kron(row.reshape(28, 28), np.ones((6, 6), np.uint8))
    return picture


def saved(path: Path, picture: Any, **options: Any) -> Path:
    Image.fromarray(picture).save(path, **options)
    return path


def facts_of(out: str) -> Any:
    return [json.loads(line) for line in out.splitlines()]


def expected(model: Path, picture: Any) -> Any:
    return probabilities(model, normalize(picture).image.reshape(1, -1))


def probabilities(model: Path, row: Any) -> Any:
    return np.exp(metrics.log_probabilities(np.load(model), row)[0])


def test_json_is_an_object_per_image_in_order_with_the_models_own_probabilities(
    program: Program, model: Path, seven: Any, tmp_path: Path
) -> None:
    saved(tmp_path / "7.png", seven)
    saved(tmp_path / "turned.png", np.rot90(seven).copy())
    done = program("predict", "--weights", model, "turned.png", "7.png", "--json")
    assert (done.code, done.err) == (0, "")
    turned, upright = facts_of(done.out)
    assert set(upright) == {"source", "label", "probability", "probabilities"}
    assert (turned["source"], upright["source"]) == ("turned.png", "7.png")
    assert upright["label"] == 7
    assert upright["probability"] == max(upright["probabilities"]) > 0.9
    np.testing.assert_allclose(upright["probabilities"], expected(model, seven), atol=1e-12)
    np.testing.assert_allclose(turned["probabilities"], expected(model, np.rot90(seven)), atol=1e-12)


def test_plain_output_names_the_digit_and_the_runners_up(
    program: Program, model: Path, seven: Any, tmp_path: Path
) -> None:
    saved(tmp_path / "7.png", seven)
    done = program("predict", "--weights", model, "7.png")
    S = expected(model, seven)
    first, second, third = (-S).argsort()[:3]
    assert done.out == (
        f"7.png: {first} ({100 * S[first]:.2f} %), "
        f"then {second} ({100 * S[second]:.2f} %), {third} ({100 * S[third]:.2f} %)\n"
    )


def test_show_draws_the_normalized_image_in_plain_characters_in_a_pipe(
    program: Program, model: Path, seven: Any, tmp_path: Path
) -> None:
    saved(tmp_path / "7.png", seven)
    first, *lines = program("predict", "--weights", model, "--show", "7.png").out.splitlines()
    assert first.startswith("7.png: 7")
    image = normalize(seven).image
    inked = [bool(pair.max()) for pair in image.reshape(14, -1)]
    assert len(lines) == 14
    assert [bool(line.strip()) for line in lines] == inked
    refused = program("predict", "--weights", model, "--show", "--json", "7.png")
    assert (refused.code, refused.out) == (2, "")


def test_images_go_through_the_features_of_the_receipt(program: Program, seven: Any, tmp_path: Path) -> None:
    assert program("train", "--dataset", "mnist-sample", "--epochs", 1, "--features=deskew").code == 0
    saved(tmp_path / "7.png", seven)
    (facts,) = facts_of(program("predict", "7.png", "--json").out)
    row = deskew(normalize(seven).image.reshape(1, -1), 28, 28)
    expected = probabilities(tmp_path / "weights.npy", row)
    np.testing.assert_allclose(facts["probabilities"], expected, atol=1e-12)


def test_dark_on_light_is_inverted_and_said_on_stderr(
    program: Program, model: Path, seven: Any, tmp_path: Path
) -> None:
    saved(tmp_path / "light.png", seven)
    saved(tmp_path / "dark.png", 255 - seven)
    done = program("predict", "--weights", model, "light.png", "dark.png", "--json")
    light, dark = facts_of(done.out)
    assert light["probabilities"] == dark["probabilities"]
    assert done.err == "dark.png: dark on light, so it was inverted\n"


def test_stdin_is_a_picture_too(process: Program, model: Path, seven: Any) -> None:
    file = io.BytesIO()
    Image.fromarray(seven).save(file, "PNG")
    done = process("predict", "--weights", model, "-", "--json", stdin=file.getvalue())
    assert (done.code, len(done.err)) == (0, 0)
    (facts,) = facts_of(done.out)
    assert (facts["source"], facts["label"]) == ("-", 7)


def test_a_long_stdin_is_refused_before_it_is_held(process: Program, model: Path) -> None:
    done = process("predict", "--weights", model, "-", stdin=b"\x89PNG" + bytes(decode.LARGEST_FILE))
    assert (done.code, len(done.out)) == (4, 0)
    assert b"too large: -: expected a file of at most 128 MiB" in done.error


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_no_descriptor_left_is_no_fault_of_the_picture(model: Path, seven: Any, tmp_path: Path) -> None:
    saved(tmp_path / "7.png", seven)
    code = (
        "import os, resource\n"
        "from mnist_softmax.cli import main, predict\n"
        "from mnist_softmax.features import decode, normalize\n"
        "read = predict._read\n"
        "def starved(*arguments):\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir('/proc/self/fd')) - 1, 99))\n"
        "    return read(*arguments)\n"
        "predict._read = starved\n"
        "main.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", "--weights", str(model), "7.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (5, "", 1)
    assert "Too many open files" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="a shell")
def test_a_closed_stdin_is_a_picture_that_cannot_be_read(model: Path) -> None:
    line = f'"{sys.executable}" -m mnist_softmax predict --weights weights.npy - <&-'
    done = subprocess.run(
        line,
        shell=True,
        cwd=model.parent,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (4, "", 1)


def grey_of(picture: Image.Image, kind: str, **options: Any) -> Any:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return decode.read_grey(file, "picture")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "CMYK", "F", "I"])
def test_every_mode_gives_the_same_digit(seven: Any, mode: str) -> None:
    black_and_white = np.where(seven > 127, 255, 0).astype(np.uint8)
    plain = Image.fromarray(black_and_white)
    if mode == "I;16":
        picture = Image.fromarray(black_and_white.astype(np.uint16) * 257)
    elif mode == "I":
        picture = Image.fromarray(black_and_white.astype(np.int32) * 257)
    elif mode == "F":
        picture = Image.fromarray(black_and_white.astype(np.float32) / 255)
    elif mode == "LA":
        picture = plain.convert("LA")
        picture.putalpha(255)
    elif mode == "RGBA":
        picture = plain.convert("RGBA")
    else:
        picture = plain.convert(mode)
    assert picture.mode == mode
    kind = "TIFF" if mode in {"CMYK", "F", "I"} else "PNG"
    np.testing.assert_array_equal(grey_of(picture, kind), black_and_white)


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("kind", ["alpha", "palette"])
def test_a_transparent_picture_lies_on_what_it_stands_out_from(seven: Any, ink: int, kind: str) -> None:
    drawn = seven > 127
    if kind == "alpha":
        level = np.full_like(seven, ink)
        picture = Image.merge("LA", [Image.fromarray(level), Image.fromarray(drawn.astype(np.uint8) * 255)])
    else:
        picture = Image.fromarray(drawn.astype(np.uint8))
        picture.putpalette([9, 9, 9, ink, ink, ink])
    options = {"transparency": 0} if kind == "palette" else {}
    grey = grey_of(picture, "PNG", **options)
    np.testing.assert_array_equal(grey, np.where(drawn, ink, 255 - ink))


def test_the_cameras_orientation_is_applied(seven: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that the picture must be turned clockwise
    grey = grey_of(Image.fromarray(np.rot90(seven).copy()), "PNG", exif=exif)
    np.testing.assert_array_equal(grey, seven)


def test_a_telephones_jpeg_with_a_second_picture_is_its_first(seven: Any) -> None:
    second = Image.new("L", (20, 20))
    grey = grey_of(Image.fromarray(seven), "MPO", save_all=True, append_images=[second])
    assert grey.shape == seven.shape


def bad_pictures(folder: Path, seven: Any) -> Any:
    """Files that cannot be recognised, and a word of why."""
    good = saved(folder / "good.png", seven).read_bytes()
    Image.new("L", (60, 60), 200).save(folder / "blank.png")
    Image.new("1", (12_000, 12_000)).save(folder / "huge.png")
    Image.new("1", (20_000, 20_000)).save(folder / "bomb.png")
    (folder / "cut.png").write_bytes(good[:200])
    (folder / "damaged.png").write_bytes(good[:80] + bytes(20) + good[100:])
    (folder / "text.png").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    # Pillow gives PostScript to Ghostscript, whatever its name.
    (folder / "program.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(forged) =\nshowpage\n"
    )
    specks = np.full((1000, 1000), 255, np.uint8)
    specks[100, 100] = specks[900, 900] = 0
    saved(folder / "specks.png", specks)
    picture = Image.fromarray(seven)
    picture.save(folder / "moving.gif", save_all=True, append_images=[picture.rotate(9)])
    return {
        "blank.png": "no digit to see",
        "huge.png": "too large",
        "bomb.png": "too large",
        "cut.png": "damaged",
        "damaged.png": "damaged",
        "text.png": "not a picture",
        "empty.png": "not a picture",
        "moving.gif": "animated",
        "folder": "no pictures in the folder",
        "specks.png": "no digit to see",
        "program.png": "not a picture",
    }


@pytest.mark.parametrize("as_json", [False, True])
def test_what_cannot_be_recognised_is_a_line_each_and_the_others_are_still_done(
    program: Program, model: Path, seven: Any, tmp_path: Path, as_json: bool
) -> None:
    bad = bad_pictures(tmp_path, seven)
    (tmp_path / "folder").mkdir()
    sources = [source for name in bad for source in (name, "good.png")]
    done = program("predict", "--weights", model, *sources, *(["--json"] if as_json else []))
    assert done.code == 4
    lines = done.err.splitlines()
    assert len(lines) == len(bad)
    for number, (line, (name, word)) in enumerate(zip(lines, bad.items(), strict=True), 1):
        kind = "error" if number == len(bad) else "warning"  # there is one error line, the last
        assert line.startswith(f"mnist-softmax: {kind}: ")
        assert name in line
        assert word in line
    if as_json:
        facts = facts_of(done.out)
        assert [entry["source"] for entry in facts] == sources
        assert all(set(entry) == {"source", "error"} for entry in facts[::2])
        assert all(entry["label"] == 7 for entry in facts[1::2])
    else:
        assert done.out.count("good.png: 7 ") == len(bad)


def test_a_name_that_does_not_exist_is_exit_2_unless_another_picture_was_wrong(
    program: Program, model: Path, seven: Any, tmp_path: Path
) -> None:
    saved(tmp_path / "7.png", seven)
    (tmp_path / "text.png").write_text("no picture")
    missing = program("predict", "--weights", model, "missing.png", "7.png")
    assert (missing.code, missing.out[:8]) == (2, "7.png: 7")
    assert missing.err == "mnist-softmax: error: no such file: missing.png\n"
    both = program("predict", "--weights", model, "text.png", "missing.png")
    assert both.code == 4
    assert both.err.count("\n") == 2


def test_of_a_folder_every_picture_is_read_in_the_order_of_their_names(
    program: Program, model: Path, seven: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "scans"
    (folder / "more").mkdir(parents=True)
    for name in ("b.png", "10.png", "a c.jpg", "B.gif"):
        saved(folder / name, seven)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden").write_text("no picture")
    (folder / "gone.png").symlink_to("nothing")
    (folder / "loop.png").symlink_to("loop.png")
    saved(folder / "more" / "deep.png", seven)
    saved(tmp_path / "z.png", seven)
    done = program("predict", "--weights", model, "z.png", "scans/", "--json")
    assert done.code == 0
    names = ["z.png", *(f"scans/{name}" for name in ("10.png", "B.gif", "a c.jpg", "b.png"))]
    facts = facts_of(done.out)
    assert [entry["source"] for entry in facts] == names
    assert {entry["label"] for entry in facts} == {7}
    skipped = [
        "no such file: scans/gone.png",
        f"the picture cannot be read: scans/loop.png: got {os.strerror(errno.ELOOP)}",
        "not a regular file: scans/more",
        "not a picture: scans/notes.txt: expected PNG, JPEG, BMP, GIF, PNM, TIFF or WebP",
    ]
    assert done.err.splitlines() == [f"mnist-softmax: warning: skipped: {text}" for text in skipped]
    drawn = program("predict", "--weights", model, "scans", "--show")
    assert [line.partition(": 7 ")[0] for line in drawn.out.splitlines() if ": 7 " in line] == names[1:]


def test_a_folder_without_pictures_is_exit_2_and_a_damaged_picture_in_one_exit_4(
    program: Program, model: Path, seven: Any, tmp_path: Path
) -> None:
    for name in ("none", "text", "damaged"):
        (tmp_path / name).mkdir()
    (tmp_path / "text" / "notes.txt").write_text("no picture")
    good = saved(tmp_path / "damaged" / "good.png", seven)
    (tmp_path / "damaged" / "cut.png").write_bytes(good.read_bytes()[:200])
    for name in ("none", "text"):
        done = program("predict", "--weights", model, name, "damaged/good.png")
        assert (done.code, done.out[:19]) == (2, "damaged/good.png: 7")
        assert done.error == f"mnist-softmax: error: no pictures in the folder: {name}"
    cut = program("predict", "--weights", model, "damaged", "none", "--json")
    assert cut.code == 4
    assert cut.error.startswith("mnist-softmax: error: the picture is damaged: damaged/cut.png: ")
    sources = ["damaged/cut.png", "damaged/good.png", "none"]
    assert [entry["source"] for entry in facts_of(cut.out)] == sources
    assert f"no such folder: {good}/" in program("predict", "--weights", model, f"{good}/").error


def test_a_folder_that_cannot_be_read_is_a_failure_like_a_picture(
    program: Program, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(Path, "iterdir", refused)  # rights do not bind root
    done = program("predict", "--weights", model, "closed")
    assert (done.code, done.out) == (4, "")
    assert "the folder cannot be read: closed: got Permission denied" in done.error


def test_without_pillow_one_line_says_what_to_install(
    program: Program, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    done = program("predict", "--weights", model, "a.png", "b.png")
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert "Pillow" in done.error
    assert done.error.endswith("; install it with: pip install 'mnist-softmax[images]'")


def test_weights_for_8_x_8_images_take_pictures_of_any_size(program: Program, tmp_path: Path) -> None:
    images, _ = write_folder(tmp_path / "d", "train", rows=300)
    assert program("train", "--data-dir", "d", "--out", "w.npy").code == 0
    assert receipt_of(tmp_path / "w.npy").image_height == 8
    saved(tmp_path / "a.png", np.kron(images[4], np.ones((9, 9), np.uint8)))
    (facts,) = facts_of(program("predict", "--weights", "w.npy", "a.png", "--json").out)
    assert len(facts["probabilities"]) == 10
    # Without the receipt the images are taken as square, and with no bias too.
    strip(tmp_path / "w.npy")
    (same,) = facts_of(program("predict", "--weights", "w.npy", "a.png", "--json").out)
    assert same == facts
    np.save(tmp_path / "bare.npy", np.load(tmp_path / "w.npy")[:-1])
    assert program("predict", "--weights", "bare.npy", "a.png").code == 0
    np.save(tmp_path / "odd.npy", np.zeros((40, 10), np.float32))
    odd = program("predict", "--weights", "odd.npy", "a.png")
    assert (odd.code, odd.out) == (6, "")
    assert "image size is unknown" in odd.error


def test_weights_that_overflow_are_exit_6(program: Program, seven: Any, tmp_path: Path) -> None:
    saved(tmp_path / "7.png", seven)
    np.save(tmp_path / "big.npy", np.full((785, 10), 3e38, np.float32))
    done = program("predict", "--weights", "big.npy", "7.png")
    assert (done.code, done.out) == (6, "")
    assert "big.npy" in done.error


def test_a_picture_costs_no_import_that_it_does_not_need(model: Path, seven: Any, tmp_path: Path) -> None:
    saved(tmp_path / "7.png", seven)
    code = (
        "import sys\n"
        "from mnist_softmax.cli import main\n"
        "assert main._run() == 0\n"
        "print(sorted({'requests', 'urllib3', 'tqdm', 'filelock', 'jinja2', 'ssl'} & set(sys.modules)))"
    )
    arguments = ["predict", "--weights", str(model), "7.png"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1:] == ["[]"]


@pytest.mark.full
def test_digits_of_any_size_place_and_polarity_lose_at_most_four_points(
    program: Program, mnist_folder: Path, tmp_path: Path
) -> None:
    """500 test digits of MNIST, each pasted at random into a larger canvas, through `predict`."""
    assert program("train", "--data-dir", mnist_folder, "--epochs", 3, "--out", "w.npy").code == 0
    assert program("eval", "w.npy", "--predictions", "p.csv").code == 0
    table = np.genfromtxt(tmp_path / "p.csv", delimiter=",", skip_header=1)
    split = folder_split(mnist_folder, "test")
    rng = np.random.default_rng(0)
    rows = rng.choice(10_000, 500, replace=False)
    for row in rows:
        side = round(28 * rng.uniform(2, 8))
        digit = Image.fromarray(split.images[row].reshape(28, 28)).resize((side, side))
        height, width = side + rng.integers(1, 200, 2)
        canvas = Image.new("L", (int(width), int(height)))
        canvas.paste(digit, (int(rng.integers(width - side)), int(rng.integers(height - side))))
        if rng.random() < 0.5:
            canvas = canvas.point(lambda level: 255 - level)
        canvas.save(tmp_path / f"{row}.bmp")
    done = program("predict", "--weights", "w.npy", "--json", *[f"{row}.bmp" for row in rows])
    assert done.code == 0
    right = np.mean(
        [f["label"] == split.labels[row] for f, row in zip(facts_of(done.out), rows, strict=True)]
    )
    unchanged = (table[rows, 1] == table[rows, 2]).mean()
    assert right > unchanged - 0.04
