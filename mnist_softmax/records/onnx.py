"""A model as an ONNX graph, from the image to the probabilities, for programs that know nothing of this one.

The feature steps are part of the graph. Each is written as the docstring of its module in `features` has it,
one operation at a time in the same order and in numbers that hold the same sums, so a runtime with IEEE 754
arithmetic gets the same features, bit for bit. The package onnx comes with the extra ``onnx``.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_softmax.errors import require
from mnist_softmax.features import directions, steps
from mnist_softmax.version import __version__

#: Operators and file format of 2022: a runtime older than the onnx package at hand reads them too.
_OPSET, _IR_VERSION = 17, 8
#: The numbers of the types in ONNX's format.
_FLOAT, _UINT8, _INT64, _DOUBLE = 1, 2, 7, 11
#: What "Pad" takes to put a ring of zeros around images (M, height, width).
_RING = np.array([0, 1, 1, 0, 1, 1])


def check_installed() -> None:
    """Raise UsageError if onnx is not installed."""
    require("onnx", "onnx", "onnx")


class _Graph:
    """The nodes so far; a call adds one and returns the name of its result. An array becomes a constant."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def __call__(self, operator: str, *inputs: Any, result: str = "", **attributes: Any) -> str:
        from onnx import helper

        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        result = result or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [result], name=result, **attributes))
        return result

    def constant(self, value: Any, name: str = "") -> str:
        from onnx import numpy_helper

        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def slice(self, value: str, axis: int, start: int, stop: int) -> str:
        """value[..., start:stop, ...]."""
        return self("Slice", value, *(np.array([number]) for number in (start, stop, axis)))


def encode(
    parameters: NDArray[np.float32],
    height: int,
    width: int,
    features: Sequence[str],
    names: Sequence[str],
    array_sha256: str,
    *,
    floats: bool,
) -> bytes:
    """The file: `images` (M, height, width) in, `label` (M,) int64 and `probabilities` (M, L) float32 out.

    The same arguments and version of onnx give the same bytes.

    Parameters
    ----------
    parameters : (N + 1, L) float32; the last row is the bias.
    features : the chain of feature steps that makes N features of an image.
    names : of the classes.
    array_sha256 : what the receipt calls the weights.
    floats : images are not uint8 but float32 from 0 to 1, which feature steps see rounded to 256 levels.

    Raises
    ------
    UsageError : onnx is not installed.
    """
    check_installed()
    from onnx import checker, helper

    graph = _network(parameters, height, width, features, floats=floats)
    inputs = [helper.make_tensor_value_info("images", _FLOAT if floats else _UINT8, ["batch", height, width])]
    outputs = [
        helper.make_tensor_value_info("label", _INT64, ["batch"]),
        helper.make_tensor_value_info("probabilities", _FLOAT, ["batch", len(names)]),
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "softmax_regression", inputs, outputs, graph.constants),
        producer_name="mnist-softmax",
        producer_version=__version__,
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        doc_string=f"Images are {'float32' if floats else 'uint8'}, 0 black to {1 if floats else 255} white.",
    )
    about = {
        "class_names": json.dumps(list(names)),
        "features": ",".join(features),
        "image_height": str(height),
        "image_width": str(width),
        "array_sha256": array_sha256,
    }
    helper.set_model_props(model, about)
    checker.check_model(model, full_check=True)
    encoded: bytes = model.SerializeToString(deterministic=True)
    return encoded


def _network(
    parameters: NDArray[np.float32], height: int, width: int, features: Sequence[str], *, floats: bool
) -> _Graph:
    """From images to label and probabilities; see `encode`."""
    graph, rows = _Graph(), "images"
    if floats and features:
        levels = graph("Round", graph("Mul", rows, np.float32(steps.SCALE)))
        rows = graph("Clip", levels, np.float32(0), np.float32(255))
    for done, step in enumerate(features):
        rows = _STEPS[step](graph, rows, *steps.shape(height, width, features[:done]))
    rows = graph("Cast", graph("Reshape", rows, np.array([0, len(parameters) - 1])), to=_FLOAT)
    if features or not floats:
        rows = graph("Div", rows, np.float32(steps.SCALE))
    W, B = graph.constant(parameters[:-1], "W"), graph.constant(parameters[-1], "B")
    logits = graph("Gemm", rows, W, B)
    graph("ArgMax", logits, result="label", axis=1, keepdims=0)
    graph("Softmax", logits, result="probabilities", axis=1)
    return graph


def _deskew(g: _Graph, images: str, height: int, width: int) -> str:
    """The steps of `features.deskew`: images (M, height, width) float64."""
    P = g("Cast", images, to=_DOUBLE)
    x, y = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)
    of_rows = g("MatMul", P, np.stack([np.ones(width), x], axis=1))
    sums = g("MatMul", np.stack([np.ones(height), y, y * y]), of_rows)  # (M, 3, 2): powers of y, powers of x
    s, sx, sy, sxy, syy = (
        g.slice(g.slice(sums, 1, i, i + 1), 2, j, j + 1) for i, j in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0))
    )  # (M, 1, 1)
    mu11 = g("Sub", g("Mul", s, sxy), g("Mul", sx, sy))
    mu02 = g("Sub", g("Mul", s, syy), g("Mul", sy, sy))

    def divided(part: str, whole: str) -> str:
        """0 where there is nothing to divide by: without ink it does not matter what is moved."""
        return g("Where", g("Greater", whole, np.float64(0)), g("Div", part, whole), np.float64(0))

    alpha, cx, cy = divided(mu11, mu02), divided(sx, s), divided(sy, s)
    dy = g("Sub", cy, np.float64(height / 2))
    dx = g("Add", g("Sub", cx, np.float64(width / 2)), g("Mul", alpha, (y - height / 2)[:, None]))
    v = _moved(g, _moved(g, g("Pad", P, _RING), dy, 1, height, width + 2), dx, 2, width, 1)
    return g("Floor", g("Add", v, np.float64(0.5)))


def _moved(g: _Graph, p: str, by: str, axis: int, length: int, others: int) -> str:
    """p(i + by) for the lines i below `length` of an axis, bilinearly; p has a line of zeros at either end.

    `others` repeats each line's number along the last axis, or is 1 where `by` has one for each pixel.
    """
    whole = g("Floor", by)
    fraction = g("Sub", by, whole)
    line = np.arange(length, dtype=np.float64).reshape((-1, 1) if axis == 1 else (1, -1))

    def taken(first: int) -> str:
        number = g("Clip", g("Add", whole, line + first), np.float64(0), np.float64(length + 1))
        index = g("Expand", g("Cast", number, to=_INT64), np.array([1, 1, others]))
        return g("GatherElements", p, index, axis=axis)

    near = g("Mul", g("Sub", np.float64(1), fraction), taken(1))
    return g("Add", near, g("Mul", fraction, taken(2)))


def _directions(g: _Graph, images: str, height: int, width: int) -> str:
    """The features of `features.directions`: (M, 8, rows, columns) float64."""
    c, (_, rows, columns) = directions.cell_side(height, width), directions.shape(height, width)
    tent_y, tent_x = directions.tents(height, rows, c), directions.tents(width, columns, c)
    p = g("Pad", g("Cast", images, to=_FLOAT if tent_x.dtype == np.float32 else _DOUBLE), _RING)
    of_rows, of_columns = g.slice(p, 1, 1, height + 1), g.slice(p, 2, 1, width + 1)
    gx = g("Sub", g.slice(of_rows, 2, 2, width + 2), g.slice(of_rows, 2, 0, width))
    gy = g("Sub", g.slice(of_columns, 1, 2, height + 2), g.slice(of_columns, 1, 0, height))
    size_x, size_y = g("Abs", gx), g("Abs", gy)
    minus_x, minus_y = g("Neg", gx), g("Neg", gy)
    signed = {(1, 0): gx, (-1, 0): minus_x, (0, 1): gy, (0, -1): minus_y}
    maps = []
    for x, y in directions.DIRECTIONS:
        if x and y:
            part = g("Min", signed[x, 0], signed[0, y])
        else:
            part = g("Sub", signed[x, y], size_y if x else size_x)
        maps.append(g("Unsqueeze", g("Relu", part), np.array([1])))
    sums = g("MatMul", tent_y.T.copy(), g("MatMul", g("Concat", *maps, axis=1), tent_x))
    squares = g("Div", g("Mul", np.float64(64), g("Cast", sums, to=_DOUBLE)), np.float64(c**4))
    return g("Min", g("Floor", g("Sqrt", squares)), np.float64(255))


#: The graph of every feature step.
_STEPS = {"deskew": _deskew, "directions": _directions}
