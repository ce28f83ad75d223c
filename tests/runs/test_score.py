"""Scoring: which rows decide, under which class names, and what the figures are."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from runs.made import make_split, receipt_of

from mnist_softmax import softmax
from mnist_softmax.data.split import Source, one_hot
from mnist_softmax.errors import WeightsError
from mnist_softmax.features.deskew import deskew
from mnist_softmax.features.directions import directions
from mnist_softmax.runs import score
from mnist_softmax.runs.fit import train
from mnist_softmax.runs.model import Model

SPLIT, TEST = make_split(600), make_split(200, seed=1, name="test", source=Source("mnist"))
CHAINS: tuple[tuple[str, ...], ...] = ((), ("deskew",), ("deskew", "directions"))
PLAIN, DESKEWED, DIRECTED = MODELS = [train(SPLIT, lr=0.1, epochs=2, features=chain) for chain in CHAINS]

MNIST, KMNIST = Source("mnist"), Source("kmnist")
HERE = Source(data_dir=Path("digits"))


def trained_on(source: Source | None) -> Model:
    """A model whose receipt names some data, or one without a receipt."""
    if source is None:
        return Model(PLAIN.array, None, Path("none.npy"))
    folder = source.data_dir and str(source.data_dir)
    receipt = msgspec.structs.replace(receipt_of(PLAIN), dataset=source.dataset, data_dir=folder)
    return Model(PLAIN.array, receipt, Path(f"{source.label}.npy"))


@pytest.mark.parametrize(
    ("models", "chosen", "expected", "warned"),
    [
        # What is chosen wins, then the first receipt that names data, then mnist.
        ([None], None, MNIST, []),
        ([None], KMNIST, KMNIST, []),
        ([KMNIST], None, KMNIST, []),
        ([HERE], None, HERE, []),
        ([Source()], None, MNIST, []),  # trained on arrays: the receipt names no data
        ([None, KMNIST], None, KMNIST, []),
        ([KMNIST, None], None, KMNIST, []),
        ([Source(), HERE], None, HERE, []),
        # Each model that was trained on something else has a warning.
        ([KMNIST], MNIST, MNIST, [KMNIST]),
        ([HERE], MNIST, MNIST, [HERE]),
        ([MNIST], HERE, HERE, [MNIST]),
        ([KMNIST, MNIST], None, KMNIST, [MNIST]),
        ([KMNIST, HERE], MNIST, MNIST, [KMNIST, HERE]),
        ([KMNIST, MNIST], MNIST, MNIST, [KMNIST]),
        # The same folder in other words is no other folder.
        ([HERE], Source(data_dir=Path("../here/digits")), Source(data_dir=Path("../here/digits")), []),
        ([], None, MNIST, []),
    ],
)
def test_the_rows_are_those_chosen_else_the_receipts_else_mnists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Any, chosen: Any, expected: Source, warned: Any
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    said: list[str] = []
    assert score.data_for([trained_on(source) for source in models], chosen, said.append) == expected
    assert said == [
        f"the weights were trained on {source.label}, not on {expected.label}: {source.label}.npy"
        for source in warned
    ]


@pytest.mark.parametrize(
    ("receipt", "classes", "source", "expected"),
    [
        (True, 7, KMNIST, "0123456"),  # the receipt's, whatever is scored
        (False, 10, KMNIST, ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]),
        (False, 7, KMNIST, "0123456"),  # not KMNIST's, of which there are ten
        (False, 10, HERE, "0123456789"),
        (False, 2, Source(), "01"),
    ],
)
def test_classes_have_the_names_of_the_receipt_else_the_datasets_else_numbers(
    receipt: bool, classes: int, source: Source, expected: Any
) -> None:
    model = PLAIN if receipt else Model(np.zeros((31, classes), np.float32))
    assert score.class_names(model, source) == list(expected)


@pytest.mark.parametrize("model", MODELS, ids=["plain", "deskewed", "directed"])
def test_an_evaluation_is_that_of_the_formulas_on_what_the_model_sees(model: Model) -> None:
    evaluation = score.evaluate(model, TEST)
    seen = deskew(TEST.images, 6, 5) if model.features else TEST.images
    seen = directions(seen, 6, 5) if "directions" in model.features else seen
    W, B = np.split(model.array.astype(float), [-1])
    F = softmax.logits(seen / 255, W, B)
    assert evaluation.log_loss == pytest.approx(softmax.cross_entropy(F, one_hot(TEST.labels, 7)), rel=1e-5)
    np.testing.assert_array_equal(evaluation.predicted, F.argmax(axis=1))
    np.testing.assert_allclose(evaluation.probability, softmax.softmax(F).max(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(evaluation.predicted, model.predict(TEST.images))
    assert evaluation.accuracy == (evaluation.predicted == TEST.labels).mean()


def test_a_model_that_does_not_fit_is_not_scored() -> None:
    with pytest.raises(WeightsError, match="do not fit the images"):
        score.evaluate(PLAIN, make_split(height=5, width=5))
    with pytest.raises(WeightsError, match="too large"):
        score.evaluate(Model(np.full((31, 7), 3e38, np.float32)), TEST)


@pytest.mark.parametrize("model", MODELS, ids=["plain", "deskewed", "directed"])
def test_an_answer_is_the_probabilities_and_the_image_that_was_seen(model: Model) -> None:
    image = TEST.images[0].reshape(6, 5)
    S, seen = score.answer(model, image)
    np.testing.assert_array_equal(S, model.predict_proba(TEST.images[:1])[0])
    np.testing.assert_array_equal(
        seen, deskew(image.reshape(1, 30), 6, 5).reshape(6, 5) if model.features else image
    )


def test_scores_are_json_and_add_up() -> None:
    evaluation = score.evaluate(PLAIN, TEST)
    facts = json.loads(json.dumps(score.scores(PLAIN, TEST, evaluation), allow_nan=False))
    assert list(facts) == [
        *("accuracy", "accuracy_low", "accuracy_high", "log_loss", "rows", "dataset", "split"),
        *("weights_sha256", "classes", "confusion"),
    ]
    assert (facts["dataset"], facts["split"], facts["rows"]) == ("mnist", "test", 200)
    assert facts["accuracy_low"] < facts["accuracy"] < facts["accuracy_high"]
    assert np.sum(facts["confusion"]) == 200
    assert np.trace(facts["confusion"]) / 200 == facts["accuracy"] == evaluation.accuracy
    for label, entry in enumerate(facts["classes"]):
        of_class = evaluation.predicted[TEST.labels == label]
        said = TEST.labels[evaluation.predicted == label]
        assert (entry["label"], entry["name"], entry["rows"]) == (label, str(label), len(of_class))
        assert entry["recall"] == pytest.approx((of_class == label).mean())
        assert entry["precision"] == (pytest.approx((said == label).mean()) if len(said) else None)


def test_a_class_without_rows_has_no_recall() -> None:
    few = make_split(30, classes=3)
    facts = score.scores(PLAIN, few, score.evaluate(PLAIN, few))
    assert [entry["recall"] is None for entry in facts["classes"]] == [False] * 3 + [True] * 4


def test_a_comparison_of_two_models_counts_rows_and_classes() -> None:
    models = [
        Model(m.array, m.receipt, Path(f"{name}.npy"), name) for name, m in (("p", PLAIN), ("d", DESKEWED))
    ]
    evaluations = [score.evaluate(model, TEST) for model in models]
    comparison, facts = score.compare_models(models, TEST, evaluations)
    facts = json.loads(json.dumps(facts, allow_nan=False))
    right = [evaluation.predicted == TEST.labels for evaluation in evaluations]
    counts = [facts[key] for key in ("both_right", "only_a", "only_b", "both_wrong")]
    assert counts == [
        int((right[0] & right[1]).sum()),
        int((right[0] & ~right[1]).sum()),
        int((~right[0] & right[1]).sum()),
        int((~right[0] & ~right[1]).sum()),
    ]
    assert (facts["a"]["weights"], facts["b"]["weights_sha256"]) == ("p.npy", "d")
    assert facts["a"]["accuracy"] == right[0].mean()
    assert facts["difference"] == pytest.approx(right[1].mean() - right[0].mean())
    assert facts["p_value"] == comparison.p_value
    assert facts["differing_rows"] == (evaluations[0].predicted != evaluations[1].predicted).sum()
    for entry in facts["classes"]:
        of_class = TEST.labels == entry["label"]
        assert entry["recall_a"] == pytest.approx(right[0][of_class].mean())
        assert entry["difference"] == pytest.approx(entry["recall_b"] - entry["recall_a"])
    _, of_few = score.compare_models(
        models, few := make_split(30, classes=3), [score.evaluate(m, few) for m in models]
    )
    assert [entry["difference"] is None for entry in of_few["classes"]] == [False] * 3 + [True] * 4


def test_of_many_models_those_with_the_same_features_share_the_prepared_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared = []
    features_of = Model.features_of

    def counted(model: Model, split: Any) -> Any:
        prepared.append(model.features)
        return features_of(model, split)

    monkeypatch.setattr(Model, "features_of", counted)
    models = [Model(m.array, m.receipt, Path(f"{i}.npy"), "") for i, m in enumerate(MODELS * 3)]
    facts = score.rank_models(models, TEST)
    assert sorted(prepared) == sorted(CHAINS)
    accuracies = {entry["weights"]: entry["accuracy"] for entry in facts["models"]}
    assert [accuracies[str(m.path)] for m in models] == [score.evaluate(m, TEST).accuracy for m in MODELS * 3]
