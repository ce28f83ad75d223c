"""``mnist-softmax export``: what it writes, what it prints, and what it refuses."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import Program, run_here

import mnist_softmax as ms


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path)


@pytest.mark.parametrize("features", ["none", "deskew,directions"])
@pytest.mark.parametrize("flags", [[], ["--floats"]])
def test_the_model_says_what_the_weights_say(
    program: Program, small_folder: Path, tmp_path: Path, features: str, flags: list[str]
) -> None:
    assert program("train", "--data-dir", "small", "--features", features, "--epochs", 2).code == 0
    done = program("export", *flags)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(
        "model.onnx: images of 8 x 8 pixels, " + ("float32, 0 to 1" if flags else "uint8")
    )
    weights, test = ms.load(tmp_path / "weights.npy"), ms.open_split(data_dir=small_folder, split="test")
    images = test.images.reshape(-1, 8, 8)
    model = session(tmp_path / "model.onnx")
    label, probabilities = model.run(None, {"images": images / np.float32(255) if flags else images})
    np.testing.assert_array_equal(label, weights.predict(test.images))
    np.testing.assert_allclose(probabilities, weights.predict_proba(test.images), atol=1e-5)
    assert weights.receipt
    about = model.get_modelmeta().custom_metadata_map
    assert about["array_sha256"] == weights.receipt.array_sha256
    assert json.loads(about["class_names"]) == weights.receipt.class_names
    assert about["features"] == ",".join(weights.features)


def test_the_same_weights_give_the_same_file(program: Program, process: Program, trained: Path) -> None:
    assert program("export").code == 0
    assert process("export", trained, "--out", "again.onnx").code == 0
    written = (trained.parent / "model.onnx").read_bytes()
    assert written == (trained.parent / "again.onnx").read_bytes()
    onnx.checker.check_model(written, full_check=True)


@pytest.mark.parametrize("bias", [False, True])
def test_weights_without_a_receipt_are_exported_for_plain_pixels(
    program: Program, tmp_path: Path, bias: bool
) -> None:
    array = np.random.default_rng(0).normal(size=(784 + bias, 10))
    np.save(tmp_path / "w.npy", array)
    done = program("export", "w.npy")
    assert done.code == 0
    assert "warning: no receipt in the weights" in done.err
    images = np.random.default_rng(1).integers(0, 256, (50, 28, 28)).astype(np.uint8)
    label, _ = session(tmp_path / "model.onnx").run(None, {"images": images})
    F = images.reshape(50, -1) / 255 @ array[:784] + (array[784] if bias else 0)
    np.testing.assert_array_equal(label, F.argmax(axis=1))


def test_weights_of_an_unknown_image_size_are_refused(program: Program, tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.zeros((12, 3), np.float32))
    done = program("export", "w.npy")
    assert (done.code, done.out) == (6, "")
    assert "the image size is unknown without a receipt: w.npy" in done.error
    assert not (tmp_path / "model.onnx").exists()


def test_nothing_is_written_over_the_weights_or_what_is_no_file(program: Program, trained: Path) -> None:
    before = trained.read_bytes()
    (trained.parent / "link.onnx").symlink_to("weights.npy")
    for out in ("weights.npy", "link.onnx", "small", "/dev/null", "no/model.onnx"):
        done = program("export", "-o", out)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert trained.read_bytes() == before


def test_wrong_weights_leave_an_old_model_as_it_was(program: Program, trained: Path) -> None:
    (trained.parent / "model.onnx").write_bytes(b"old")
    assert program("export", "missing.npy").code == 2
    trained.write_bytes(b"no weights")
    assert program("export").code == 6
    assert (trained.parent / "model.onnx").read_bytes() == b"old"


def test_without_onnx_one_line_says_what_to_install(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = run_here(["export"], trained.parent)
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "mnist-softmax: error: onnx is missing; install it with: pip install 'mnist-softmax[onnx]'\n"
    )
    assert not (trained.parent / "model.onnx").exists()
