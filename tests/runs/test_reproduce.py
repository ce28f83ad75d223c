"""Training again as a receipt says: identical, equal on other hardware, or different, and why."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.core import ParameterSource
from runs.made import make_split, never

from mnist_softmax.cli import train as train_command
from mnist_softmax.data.split import Source, Split
from mnist_softmax.errors import GateError, WeightsError
from mnist_softmax.records.receipt import train_arguments
from mnist_softmax.records.weights import array_sha256
from mnist_softmax.runs.fit import fit
from mnist_softmax.runs.model import Model, load
from mnist_softmax.runs.reproduce import FIGURE_TOLERANCE, WEIGHT_TOLERANCE, facts, receipt_of, reproduce
from mnist_softmax.settings import Settings

FILES = {"train-images-idx3-ubyte": "1" * 64, "train-labels-idx1-ubyte": "2" * 64}
SPLIT = make_split(source=Source("mnist"), files=FILES)
SETTINGS = Settings(lr=0.123456789, epochs=3, batch_size=37, seed=5, val_size=40)
MODEL = fit(SPLIT, SETTINGS, ("deskew",))
RECEIPT = receipt_of(MODEL)


def changed(by: float = 0.0, **receipt: Any) -> Model:
    """The model with a weight moved by a fraction of the largest, and a receipt with some changes that fits it."""
    array = MODEL.array.copy()
    array[0, 0] += np.float32(by * np.abs(array).max())
    receipt["array_sha256"] = array_sha256(array)
    return Model(array, msgspec.structs.replace(RECEIPT, **receipt), Path("w.npy"))


def settings(**changes: Any) -> dict[str, Any]:
    return {**RECEIPT.settings, **changes}


OTHER_NUMPY = {**RECEIPT.versions, "numpy": "1.0"}


@pytest.mark.parametrize(
    "made",
    [
        SETTINGS,
        replace(SETTINGS, val_size=0, schedule="constant", momentum=0),
        Settings.for_features((), solver="lbfgs", epochs=3),
    ],
)
@pytest.mark.parametrize("features", [(), ("deskew", "directions")])
def test_the_same_run_again_is_identical(tmp_path: Path, made: Settings, features: Any) -> None:
    model = fit(SPLIT, made, features, out=tmp_path / "w.npy")
    counted: list[int] = []
    outcome = reproduce(load(tmp_path / "w.npy"), SPLIT, counted.append)
    assert model.receipt is not None
    assert (outcome.word, outcome.identical, outcome.faults, outcome.versions) == ("identical", True, [], {})
    assert outcome.array_sha256 == model.receipt.array_sha256
    assert outcome.largest_difference == 0
    assert sum(counted) == 3 * model.receipt.rows
    assert [path.name for path in tmp_path.iterdir()] == ["w.npy"]


@pytest.mark.parametrize(
    ("by", "versions", "word"),
    [
        (0, {}, "identical"),
        (1e-6, {}, "different"),
        (0, OTHER_NUMPY, "identical"),  # other versions need not make other bytes
        (1e-6, OTHER_NUMPY, "equal"),
        (0.5 * WEIGHT_TOLERANCE, OTHER_NUMPY, "equal"),
        (2 * WEIGHT_TOLERANCE, OTHER_NUMPY, "different"),
        (2 * WEIGHT_TOLERANCE, {}, "different"),
    ],
)
def test_weights_may_differ_a_little_where_versions_do(by: float, versions: Any, word: str) -> None:
    outcome = reproduce(changed(by, **({"versions": versions} if versions else {})), SPLIT)
    assert outcome.word == word
    assert outcome.largest_difference == pytest.approx(by, rel=0.01)
    assert outcome.versions == ({"numpy": ("1.0", np.__version__)} if versions else {})
    assert [fault.split(" by ")[0] for fault in outcome.faults] == ["weights that differ"] * (
        word == "different"
    )


def test_versions_that_one_side_lacks_are_named() -> None:
    there = {name: value for name, value in RECEIPT.versions.items() if name != "blas"}
    outcome = reproduce(changed(versions={**there, "compiler": "tcc"}), SPLIT)
    assert outcome.versions == {"blas": (None, RECEIPT.versions["blas"]), "compiler": ("tcc", None)}


@pytest.mark.parametrize("figure", ["loss", "train_accuracy", "validation_accuracy"])
@pytest.mark.parametrize(
    ("by", "versions", "word"),
    [
        (1e-15, {}, "different"),
        (0.9 * FIGURE_TOLERANCE, {"versions": OTHER_NUMPY}, "identical"),
        (-0.01, {"versions": OTHER_NUMPY}, "different"),
    ],
)
def test_a_receipt_may_claim_no_other_figures(figure: str, by: float, versions: Any, word: str) -> None:
    was = getattr(RECEIPT, figure)
    outcome = reproduce(changed(**{figure: was + by}, **versions), SPLIT)
    assert outcome.word == word
    assert outcome.faults == [f"{figure} {was + by} in the receipt, {was} now"] * (word == "different")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"rows": 261}, "rows"),
        ({"class_names": list("abcdefg")}, "class_names"),
        ({"history": RECEIPT.history[:-1]}, "history"),
        (
            {
                "history": [
                    msgspec.structs.replace(RECEIPT.history[0], running_loss=0.5),
                    *RECEIPT.history[1:],
                ]
            },
            "history",
        ),
    ],
)
def test_a_receipt_may_tell_no_other_story(change: Any, name: str) -> None:
    outcome = reproduce(changed(**change), SPLIT)
    assert (outcome.word, outcome.faults) == ("different", [f"another {name} in the receipt"])


def test_a_receipt_may_not_leave_the_validation_accuracy_out() -> None:
    outcome = reproduce(changed(validation_accuracy=None), SPLIT)
    assert outcome.word == "different"
    assert outcome.faults[0].startswith("validation_accuracy None in the receipt, 0.")


def test_another_shape_is_different() -> None:
    array = np.zeros((31, 8), np.float32)
    receipt = msgspec.structs.replace(RECEIPT, array_sha256=array_sha256(array))
    outcome = reproduce(Model(array, receipt), SPLIT)
    assert (outcome.word, outcome.largest_difference) == ("different", None)
    assert outcome.faults == ["(31, 8) weights, (31, 7) now"]


@pytest.mark.parametrize(
    ("model", "split", "reason"),
    [
        (Model(MODEL.array, None, Path("w.npy")), SPLIT, "no receipt: w.npy"),
        (changed(dataset=None), SPLIT, "the receipt names no data: w.npy"),
        (
            changed(),
            replace(SPLIT, files={**FILES, "train-labels-idx1-ubyte": "3" * 64}),
            "another train-labels-idx1",
        ),
        (
            changed(files={}),
            SPLIT,
            "trained on another train-images-idx3-ubyte: w.npy: expected SHA-256 None",
        ),
        (
            changed(settings=settings(val_size=300)),
            SPLIT,
            "the receipt is damaged: w.npy: expected val_size below 300",
        ),
    ],
)
def test_what_cannot_be_trained_again_is_refused_before_it_is_tried(
    model: Model, split: Split, reason: str
) -> None:
    with pytest.raises(WeightsError, match=reason):
        reproduce(model, split, never)


def test_a_receipt_whose_run_diverges_says_so() -> None:
    with pytest.raises(GateError, match="training diverged"):
        reproduce(changed(settings=settings(lr=1e300)), SPLIT)


# The command and the figures --------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [(), ("deskew", "directions")])
@pytest.mark.parametrize("source", [Source("kmnist"), Source(data_dir=Path("my data"))])
@pytest.mark.parametrize(
    "made",
    [
        Settings(1 / 3, 1e-300, 0.0, "constant", epochs=99_999, batch_size=7, seed=2**63 - 1, val_size=0),
        Settings.for_features((), solver="lbfgs", reg=1e-300, epochs=99_999, seed=2**63 - 1, val_size=0),
    ],
    ids=["sgd", "lbfgs"],
)
def test_the_arguments_of_train_leave_nothing_to_a_default(
    source: Source, features: Any, made: Settings
) -> None:
    receipt = msgspec.structs.replace(
        RECEIPT, settings=vars(made), features=list(features), dataset=None, data_dir="elsewhere"
    )
    command, *arguments = train_arguments(receipt, source, Path("again.npy"))
    assert command == "train"
    parsed = train_command.command.make_context("train", arguments)
    where = {"dataset": source.dataset} if source.dataset else {"data_dir": source.data_dir}
    of_solver = {name: value for name, value in vars(made).items() if value is not None}
    given = {**of_solver, **where, "features": features, "out": Path("again.npy")}
    for name, value in parsed.params.items():
        said = parsed.get_parameter_source(name) is ParameterSource.COMMANDLINE
        assert (said, value) == ((True, given[name]) if name in given else (False, value)), name
    assert given.keys() <= parsed.params.keys()


def test_only_a_model_that_names_its_data_has_a_receipt_to_go_by() -> None:
    assert receipt_of(MODEL) is RECEIPT
    folder = changed(dataset=None, data_dir="d")
    assert receipt_of(folder) is folder.receipt


def test_the_figures_say_what_was_compared() -> None:
    model = changed(1e-5, versions=OTHER_NUMPY)
    outcome = reproduce(model, SPLIT)
    assert facts(model, SPLIT.source, outcome, 1.23456) == {
        "weights": "w.npy",
        "weights_sha256": "",
        "outcome": "equal",
        "array_sha256": array_sha256(model.array),
        "array_sha256_again": RECEIPT.array_sha256,
        "largest_difference": outcome.largest_difference,
        "largest_difference_allowed": WEIGHT_TOLERANCE,
        "train_accuracy": RECEIPT.train_accuracy,
        "train_accuracy_again": RECEIPT.train_accuracy,
        "figures_allowed": FIGURE_TOLERANCE if outcome.versions else 0,
        "versions": {"numpy": {"receipt": "1.0", "here": np.__version__}},
        "faults": [],
        "dataset": "mnist",
        "seconds": 1.235,
    }
    assert facts(MODEL, SPLIT.source, reproduce(MODEL, SPLIT), 0)["largest_difference_allowed"] == 0
