"""A Model answers for images of its own size, whatever features it was trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runs.made import make_split

from mnist_softmax import softmax
from mnist_softmax.data.split import Source, Split
from mnist_softmax.errors import UsageError, WeightsError
from mnist_softmax.features.deskew import deskew
from mnist_softmax.features.directions import directions
from mnist_softmax.runs.fit import train
from mnist_softmax.runs.model import Model, load

SPLIT = make_split(1100)
PLAIN, DESKEWED = (train(SPLIT, lr=0.1, epochs=3, features=features) for features in ((), ("deskew",)))


def by_formula(array: Any, images: Any) -> Any:
    """S of some images in float64."""
    W, B = np.split(array.astype(float), [len(array) - 1])
    return softmax.softmax(softmax.logits(images / 255, W, B))


@pytest.mark.parametrize("rows", [0, 1, 1100], ids=["none", "one", "more than are scored at once"])
def test_probabilities_are_those_of_the_formulas(rows: int) -> None:
    images = SPLIT.images[:rows]
    S = PLAIN.predict_proba(images)
    assert S.shape == (rows, 7)
    assert S.dtype == np.float64
    np.testing.assert_allclose(S, by_formula(PLAIN.array, images), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(S.sum(axis=1), 1)
    predicted = PLAIN.predict(images)
    assert predicted.shape == (rows,)
    assert predicted.dtype == np.uint8
    np.testing.assert_array_equal(predicted, S.argmax(axis=1))


def test_a_model_knows_more_than_chance() -> None:
    unseen = make_split(500, seed=1)
    assert (PLAIN.predict(unseen.images) == unseen.labels).mean() > 0.6


@pytest.mark.parametrize("model", [PLAIN, DESKEWED], ids=["plain", "deskewed"])
def test_images_may_be_lines_or_pictures(model: Model) -> None:
    pictures = SPLIT.images.reshape(-1, 6, 5)
    np.testing.assert_array_equal(model.predict(pictures), model.predict(SPLIT.images))
    strided = np.asfortranarray(pictures)[::2]
    np.testing.assert_array_equal(model.predict_proba(strided), model.predict_proba(SPLIT.images[::2]))


def test_features_are_applied_by_themselves() -> None:
    assert (PLAIN.features, DESKEWED.features) == ((), ("deskew",))
    upright = deskew(SPLIT.images, 6, 5)
    as_pixels = Model(DESKEWED.array)  # without a receipt it is a model of plain pixels
    np.testing.assert_array_equal(
        DESKEWED.predict_proba(SPLIT.images), Model(DESKEWED.array, PLAIN.receipt).predict_proba(upright)
    )
    assert as_pixels.features == ()
    assert (DESKEWED.predict(SPLIT.images) != DESKEWED.predict(upright)).any()
    np.testing.assert_array_equal(DESKEWED.features_of(SPLIT), upright)
    assert PLAIN.features_of(SPLIT) is SPLIT.images
    directed = train(SPLIT, epochs=1, features=("deskew", "directions"))
    np.testing.assert_array_equal(directed.features_of(SPLIT), directions(upright, 6, 5))
    np.testing.assert_array_equal(
        directed.predict_proba(SPLIT.images.reshape(-1, 6, 5)), directed.predict_proba(SPLIT.images)
    )


@pytest.mark.parametrize(
    "images",
    [
        SPLIT.images / 255,
        SPLIT.images.astype(np.float32),
        SPLIT.images.astype(int),
        SPLIT.images > 127,
        SPLIT.images[0],
        SPLIT.images.reshape(-1, 6, 5, 1),
        SPLIT.images.astype(object),
    ],
    ids=["fractions", "floats", "integers", "booleans", "one line", "four dimensions", "objects"],
)
def test_images_of_another_type_are_refused_in_one_sentence(images: Any) -> None:
    for ask in (PLAIN.predict, PLAIN.predict_proba):
        with pytest.raises(TypeError) as caught:
            ask(images)
        assert str(caught.value) == (
            "images are uint8, 0 to 255, of shape (M, N) or (M, height, width), "
            f"got {images.dtype} of shape {images.shape}"
        )


@pytest.mark.parametrize(
    ("shape", "got"),
    [
        ((2, 29), "29"),
        ((2, 31), "31"),
        ((2, 5, 6), "5 x 6"),
        ((2, 1, 30), "1 x 30"),
        ((30, 2), "2"),
        ((0, 0), "0"),
    ],
)
def test_images_of_another_size_are_refused_in_one_sentence(tmp_path: Path, shape: Any, got: str) -> None:
    saved = PLAIN.save(tmp_path / "w.npy")
    with pytest.raises(WeightsError) as caught:
        saved.predict(np.zeros(shape, np.uint8))
    assert str(caught.value) == (
        f"the weights do not fit the images: {saved.path}: expected 6 x 5 pixels, got {got}"
    )


def test_weights_whose_logits_overflow_are_refused() -> None:
    with pytest.raises(WeightsError, match="too large"):
        Model(np.full((31, 7), 3e38, np.float32), PLAIN.receipt).predict(SPLIT.images)


# Weights made elsewhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_without_a_receipt_images_are_squares_of_plain_pixels(bias: bool) -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(size=(17, 3)).astype(np.float32)
    images = rng.integers(0, 256, (9, 4, 4), np.uint8)
    model = Model(array if bias else array[:16])
    expected = by_formula(array if bias else np.vstack([array[:16], np.zeros(3)]), images.reshape(9, 16))
    np.testing.assert_allclose(model.predict_proba(images), expected, rtol=1e-4)
    assert (model.image_size, model.source, model.features) == ((4, 4), None, ())


def test_without_a_receipt_images_that_are_no_squares_cannot_be_guessed() -> None:
    model = Model(PLAIN.array)
    with pytest.raises(WeightsError, match="the image size is unknown without a receipt"):
        model.predict(SPLIT.images)
    # The data can say it.
    np.testing.assert_array_equal(model.parameters_for(SPLIT), PLAIN.array)


@pytest.mark.parametrize(
    ("model", "split", "reason"),
    [
        (PLAIN, make_split(height=6, width=6), "do not fit the images: expected 6 x 5 pixels, got 6 x 6"),
        (PLAIN, make_split(height=5, width=6), "do not fit the images: expected 6 x 5 pixels, got 5 x 6"),
        (Model(PLAIN.array[:-2]), SPLIT, "do not fit the images"),
        (
            Model(PLAIN.array[:-1], PLAIN.receipt),
            SPLIT,
            "do not fit the images",
        ),  # a receipt speaks of a bias
        (PLAIN, make_split(classes=8), "do not fit the labels: expected 8 classes, got 7"),
        (
            PLAIN,
            make_split(classes=5, class_names=list("abcde"), source=Source("mnist")),
            "expected 5 classes",
        ),
    ],
)
def test_a_split_that_does_not_fit_is_refused(model: Model, split: Split, reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        model.parameters_for(split)


def test_a_folder_may_leave_classes_out() -> None:
    assert PLAIN.parameters_for(make_split(classes=3)).shape == (31, 7)


# Files ------------------------------------------------------------------------------------------------------


def test_a_saved_model_knows_its_file_and_is_loaded_as_it_was(tmp_path: Path) -> None:
    assert (PLAIN.path, PLAIN.sha256) == (None, "")
    for path in (tmp_path / "w.npy", str(tmp_path / "w.npy")):
        saved = DESKEWED.save(path)
        loaded = load(path)
        assert saved.path == loaded.path == Path(path)
        assert saved.sha256 == loaded.sha256 != ""
        assert saved.receipt == loaded.receipt == DESKEWED.receipt
        np.testing.assert_array_equal(
            loaded.predict_proba(SPLIT.images), DESKEWED.predict_proba(SPLIT.images)
        )


def test_a_model_without_a_receipt_is_saved_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    Model(PLAIN.array[:-1]).save(path)
    assert load(path).receipt is None
    np.save(tmp_path / "by_numpy.npy", PLAIN.array[:-1])
    assert path.read_bytes() == (tmp_path / "by_numpy.npy").read_bytes()


def test_a_file_that_is_missing_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file: .*w\.npy; make it with mnist-softmax train"):
        load(tmp_path / "w.npy")
