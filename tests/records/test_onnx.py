"""The ONNX graph: the features bit for bit, and what onnxruntime makes of the whole."""

import json
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import mnist_softmax as ms
from mnist_softmax.features import steps
from mnist_softmax.features.prepare import prepare
from mnist_softmax.records.onnx import _STEPS, encode
from mnist_softmax.settings import FEATURE_STEPS
from mnist_softmax.version import __version__

CHAINS: list[tuple[str, ...]] = [(), ("deskew",), ("directions",), ("deskew", "directions")]
SIZES = [(28, 28), (8, 8), (20, 31), (1, 1), (2, 1), (3, 50), (50, 3), (84, 80), (77, 77)]


def encoded(
    height: int = 8, width: int = 8, chain: Any = (), classes: int = 3, floats: bool = False, seed: int = 0
) -> bytes:
    rows = steps.count(height, width, chain) + 1
    parameters = np.random.default_rng(seed).normal(size=(rows, classes)).astype(np.float32)
    names = [f"class {k}" for k in range(classes)]
    return encode(parameters, height, width, chain, names, "of the array", floats=floats)


def run(content: bytes, images: Any, outputs: Any = None) -> Any:
    return onnxruntime.InferenceSession(content).run(outputs, {"images": images})


def features_in(content: bytes, images: Any) -> Any:
    """What the graph has before it scales and multiplies."""
    model = onnx.load_from_string(content)
    name = next(node.output[0] for node in reversed(model.graph.node) if node.op_type == "Cast")
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return run(model.SerializeToString(), images, [name])[0]


def difficult_images(height: int, width: int) -> Any:
    """Noise, contrasts, none, full, a line, single pixels, and a few pixels, whose fractions are round."""
    rng = np.random.default_rng(height * width)
    noise = rng.integers(0, 256, (20, height, width))
    few = np.zeros((60, height, width), int)
    for image in few:
        for _ in range(rng.integers(1, 5)):
            image[rng.integers(height), rng.integers(width)] = rng.choice([1, 2, 64, 127, 128, 254, 255])
    line = np.zeros((2, height, width), int)
    line[0, height // 2], line[1, :, -1] = 255, 3
    same = np.stack([np.zeros((height, width)), np.full((height, width), 255)])
    parts = [noise, np.where(noise > 200, 255, 0), np.where(noise > 240, noise, 0), few, line, same]
    return np.concatenate(parts).astype(np.uint8)


def test_every_feature_step_has_a_graph() -> None:
    assert _STEPS.keys() == FEATURE_STEPS.keys()


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("chain", CHAINS[1:], ids=",".join)
@pytest.mark.parametrize("floats", [False, True], ids=["uint8", "floats"])
def test_features_are_the_program_s_bit_for_bit(height: int, width: int, chain: Any, floats: bool) -> None:
    images = difficult_images(height, width)
    expected = prepare(images.reshape(len(images), -1), height, width, chain)
    given = images / np.float32(255) if floats else images
    np.testing.assert_array_equal(
        features_in(encoded(height, width, chain, floats=floats), given), expected.astype(np.float32)
    )


def test_feature_steps_see_floats_rounded_to_256_levels() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, 8, 8)).astype(np.uint8)
    near = ((images + rng.uniform(-0.45, 0.45, images.shape)) / 255).astype(np.float32)
    content = encoded(chain=("deskew", "directions"), floats=True)
    np.testing.assert_array_equal(features_in(content, near), features_in(content, images / np.float32(255)))


def test_without_features_floats_are_taken_as_they_are() -> None:
    images = np.random.default_rng(1).uniform(0, 1, (10, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(features_in(encoded(floats=True), images), images.reshape(10, -1))


@pytest.mark.parametrize("chain", CHAINS, ids=",".join)
def test_a_batch_may_have_any_number_of_images(chain: Any) -> None:
    content = encoded(chain=chain)
    images = np.random.default_rng(2).integers(0, 256, (5, 8, 8)).astype(np.uint8)
    labels, probabilities = run(content, images)
    for i in range(5):
        (label,), (row,) = run(content, images[i : i + 1])
        assert label == labels[i]
        np.testing.assert_allclose(row, probabilities[i], atol=1e-6)
    labels, probabilities = run(content, images[:0])
    assert (labels.shape, probabilities.shape) == ((0,), (0, 3))


def test_the_file_says_what_goes_in_what_comes_out_and_whose_weights_these_are() -> None:
    for floats, kind, white in ((False, onnx.TensorProto.UINT8, 255), (True, onnx.TensorProto.FLOAT, 1)):
        model = onnx.load_from_string(encoded(5, 7, ("deskew",), floats=floats))
        (images,) = model.graph.input
        label, probabilities = model.graph.output
        assert (images.name, images.type.tensor_type.elem_type) == ("images", kind)
        assert [size.dim_param or size.dim_value for size in images.type.tensor_type.shape.dim] == [
            "batch",
            5,
            7,
        ]
        assert (label.name, label.type.tensor_type.elem_type) == ("label", onnx.TensorProto.INT64)
        assert probabilities.name == "probabilities"
        assert probabilities.type.tensor_type.shape.dim[1].dim_value == 3
        assert f"0 black to {white} white" in model.doc_string
        assert (model.producer_name, model.producer_version) == ("mnist-softmax", __version__)
        about = {entry.key: entry.value for entry in model.metadata_props}
        assert json.loads(about.pop("class_names")) == ["class 0", "class 1", "class 2"]
        assert about == {
            "features": "deskew",
            "image_height": "5",
            "image_width": "7",
            "array_sha256": "of the array",
        }


def test_the_same_weights_give_the_same_bytes_and_others_do_not() -> None:
    assert encoded() == encoded()
    assert encoded() != encoded(seed=1)


@pytest.mark.parametrize("chain", CHAINS, ids=",".join)
@pytest.mark.parametrize("floats", [False, True], ids=["uint8", "floats"])
def test_onnxruntime_agrees_on_the_sample(chain: Any, floats: bool) -> None:
    agrees(ms.open_split("mnist-sample"), ms.open_split("mnist-sample", "test"), chain, floats)


@pytest.mark.full
@pytest.mark.parametrize("chain", CHAINS, ids=",".join)
def test_onnxruntime_agrees_on_mnist(cache: Any, chain: Any) -> None:
    train, test = (ms.open_split("mnist", name, cache_dir=cache, offline=True) for name in ("train", "test"))
    agrees(train, test, chain, floats=False)


def agrees(train: Any, test: Any, chain: Any, floats: bool) -> None:
    """Labels are identical, probabilities within 1e-5."""
    model = ms.train(train, features=chain, epochs=3)
    content = encode(model.array, 28, 28, chain, train.class_names, "", floats=floats)
    images = test.images.reshape(-1, 28, 28)
    labels, probabilities = run(content, images / np.float32(255) if floats else images)
    np.testing.assert_array_equal(labels, model.predict(test.images))
    np.testing.assert_allclose(probabilities, model.predict_proba(test.images), atol=1e-5, rtol=0)
