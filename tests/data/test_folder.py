"""A folder of one's own: the names of EMNIST, QMNIST and torchvision, labels in columns, and .npz files."""

import gzip
import io
import json
import random
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import as_idx, learnable
from conftest import IMAGE_NAMES, LABEL_NAMES, write_folder

from mnist_softmax.data.folder import folder_split
from mnist_softmax.errors import DataError, UsageError

X, Y = learnable(60, 10, 6, 5, 0)
X_TEST, Y_TEST = learnable(20, 10, 6, 5, 1)
PARTS = {"train": (X, Y), "test": (X_TEST, Y_TEST)}


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


def columns(labels: Any) -> Any:
    """Labels as QMNIST has them, the class in the first of eight columns."""
    values = np.full((len(labels), 8), -7, np.int32)
    values[:, 0] = labels
    return values


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("emnist-letters-{}-images-idx3-ubyte", "emnist-letters-{}-labels-idx1-ubyte"),
        ("emnist-by.class-{}-images-idx3-ubyte.gz", "emnist-by.class-{}-labels-idx1-ubyte.gz"),
        ("qmnist-{}-images-idx3-ubyte", "qmnist-{}-labels-idx2-int"),
        ("qmnist-{}-images-idx3-ubyte.gz", "qmnist-{}-labels-idx2-int.gz"),
        ("{}-images-idx3-ubyte", "{}-labels.idx1-ubyte.gz"),
    ],
)
def test_names_of_emnist_qmnist_and_torchvision_are_found_for_both_splits(
    images: str, labels: str, tmp_path: Path
) -> None:
    for split, (x, y) in PARTS.items():
        held = columns(y) if "int" in labels else y
        write(tmp_path / "d", {images.format(split): as_idx(x), labels.format(split): as_idx(held)})
    plain = write(
        tmp_path / "plain", {n: as_idx(a) for n, a in zip(NAMES, (X, Y, X_TEST, Y_TEST), strict=True)}
    )
    for split, (x, y) in PARTS.items():
        found, usual = folder_split(tmp_path / "d", split), folder_split(plain, split)
        np.testing.assert_array_equal(found.images, x.reshape(len(x), -1), "and never transposed")
        np.testing.assert_array_equal(found.labels, y)
        assert found.labels.dtype == np.uint8
        assert found.files == usual.files, "the same data has the same hashes, whatever holds it"
        assert set(usual.mapped) == set(usual.files)
        assert set(found.mapped) == {
            n for n, of in zip(usual.files, (images, labels), strict=True) if raw(of)
        }


NAMES = [IMAGE_NAMES["train"], LABEL_NAMES["train"], IMAGE_NAMES["test"], LABEL_NAMES["test"]]


def raw(name: str) -> bool:
    return name.endswith("-ubyte")


def test_several_data_sets_in_a_folder_are_wrong_usage_and_named(program: Any, tmp_path: Path) -> None:
    names = [
        f"emnist-{name}-train-{what}" for name in ("letters", "digits") for what in ("images-idx3-ubyte",)
    ]
    write(tmp_path / "d", dict.fromkeys(names, b""))
    done = program("train", "--data-dir", "d")
    assert done.code == 2
    assert "several data sets in one folder: d: got emnist-digits, emnist-letters; " in done.error


def test_mnists_own_names_come_first_and_hidden_files_are_none(tmp_path: Path) -> None:
    images, _ = write_folder(tmp_path)
    write(
        tmp_path, {"emnist-a-train-images-idx3-ubyte": b"", "._b-train-images-idx3-ubyte": b"", "c.npz": b""}
    )
    np.testing.assert_array_equal(folder_split(tmp_path, "train").images, images.reshape(60, -1))
    with pytest.raises(UsageError, match=r"no such file: .*t10k-images-idx3-ubyte"):
        folder_split(tmp_path, "test")
    hidden = write(tmp_path / "d", {"._train-images-idx3-ubyte": b"", "._b-train-images-idx3-ubyte": b""})
    with pytest.raises(
        UsageError,
        match=r"no such file: .*d/train-images-idx3-ubyte; --data-dir takes a folder with IDX .* or a \.npz",
    ):
        folder_split(hidden, "train")
    half = write(tmp_path / "e", {"qmnist-train-images-idx3-ubyte": as_idx(X)})
    with pytest.raises(UsageError, match=r"no such file: .*qmnist-train-labels-idx1-ubyte"):
        folder_split(half, "train")
    with pytest.raises(UsageError, match=r"no such file: .*qmnist-test-images-idx3-ubyte"):
        folder_split(half, "test")


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (columns(Y) + 250, "wrong labels: .*: expected 0 to 255, got 250 to 259"),
        (columns(Y) - 1, "wrong labels: .*: expected 0 to 255, got -1 to 8"),
        (columns(Y)[:-1], "expected 60 labels, got 59"),
        (columns(Y)[:, :0], "labels without columns"),
    ],
)
def test_wrong_labels_in_columns_are_refused(labels: Any, words: str, packed: str, tmp_path: Path) -> None:
    names = (f"qmnist-train-images-idx3-ubyte{packed}", f"qmnist-train-labels-idx2-int{packed}")
    write(tmp_path, {names[0]: as_idx(X), names[1]: as_idx(labels)})
    with pytest.raises(DataError, match=words):
        folder_split(tmp_path, "train")


def test_labels_of_letters_stay_as_they_are(program: Any, tmp_path: Path) -> None:
    for split, rows in (("train", 260), ("test", 52)):
        x, y = learnable(rows, 26, 6, 5, rows)
        names = [f"emnist-letters-{split}-{what}-ubyte" for what in ("images-idx3", "labels-idx1")]
        write(tmp_path / "d", dict(zip(names, map(as_idx, (x, y + np.uint8(1))), strict=True)))
    assert program("train", "--data-dir", "d", "--epochs", 30).code == 0
    scores = json.loads(program("eval", "--json").out)
    assert scores["accuracy"] == 1
    assert [row["label"] for row in scores["classes"]] == list(range(27))
    assert scores["classes"][0]["rows"] == 0


# .npz ----------------------------------------------------------------------------------------------------------------


def npz(path: Path, compressed: bool = False, **arrays: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


KERAS = {"x_train": X, "y_train": Y, "x_test": X_TEST, "y_test": Y_TEST}
MEDMNIST = {
    **{f"{split}_images": x for split, (x, _) in PARTS.items()},
    **{f"{split}_labels": y.reshape(-1, 1) for split, (_, y) in PARTS.items()},
    "val_images": X_TEST,
    "val_labels": Y_TEST.reshape(-1, 1),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("as_named", ["d", "d/some.npz"])
@pytest.mark.parametrize("arrays", [KERAS, MEDMNIST], ids=["keras", "MedMNIST"])
def test_npz_of_keras_and_medmnist_is_trained_on_scored_and_reproduced(
    arrays: dict[str, Any], as_named: str, compressed: bool, program: Any, tmp_path: Path
) -> None:
    npz(tmp_path / "d" / "some.npz", compressed, **arrays)
    names = [f"class {number}" for number in range(10)]
    (tmp_path / "d" / "classes.txt").write_text("\n".join(names))
    done = program("train", "--data-dir", as_named, "--epochs", 30)
    assert done.code == 0, done.err
    note = f"the validation rows (val_images, val_labels) are left out: {as_named.removesuffix('/some.npz')}"
    assert (note in done.err) == (arrays is MEDMNIST)
    evaluated = program("eval", "--json")
    scores = json.loads(evaluated.out)
    assert (scores["rows"], scores["accuracy"], evaluated.err) == (20, 1, "")
    assert [row["name"] for row in scores["classes"]] == names
    assert program("reproduce").code == 0
    # The receipt does not say what held the data: the same in IDX files is the same.
    write(tmp_path / "idx", {n: as_idx(a) for n, a in zip(NAMES, (X, Y, X_TEST, Y_TEST), strict=True)})
    (tmp_path / "idx" / "classes.txt").write_text("\n".join(names))
    assert program("reproduce", "--data-dir", "idx").code == 0
    images = "x_train" if arrays is KERAS else "train_images"
    npz(tmp_path / "d" / "some.npz", compressed, **(arrays | {images: 255 - arrays[images]}))
    done = program("reproduce")
    assert done.code == 6
    assert "the weights were trained on another train-images-idx3-ubyte" in done.error


def test_k49_and_kmnist_have_a_file_for_each_array(program: Any, tmp_path: Path) -> None:
    for split, pair in PARTS.items():
        for what, array in zip(("imgs", "labels"), pair, strict=True):
            npz(tmp_path / "d" / f"k49-{split}-{what}.npz", arr_0=array)
    assert program("train", "--data-dir", "d", "--epochs", 30).code == 0
    assert json.loads(program("eval", "--json").out)["accuracy"] == 1
    (tmp_path / "d" / "k49-test-labels.npz").unlink()
    done = program("eval")
    assert done.code == 2
    assert "no such file: d/k49-test-labels.npz" in done.error


def test_of_several_npz_files_one_must_be_named(program: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        npz(tmp_path / "d" / f"{name}.npz", **KERAS)
    done = program("train", "--data-dir", "d")
    assert done.code == 2
    assert (
        "several .npz files: d: expected one, got a.npz, b.npz; name one of them: --data-dir FILE.npz"
        in done.error
    )
    assert program("train", "--data-dir", "d/b.npz", "--epochs", 1, "--out", "w.npy").code == 0
    missing = program("train", "--data-dir", "d/c.npz")
    assert (missing.code, missing.error) == (2, "mnist-softmax: error: no such file: d/c.npz")
    for out in ("d/a.npz", "d/b.npz"):
        done = program("train", "--data-dir", "d" if "a" in out else out, "--out", out)
        assert done.code == 2
        assert "the command already uses this file" in done.error


@pytest.mark.parametrize(
    "images", [X[..., None], np.asfortranarray(X), X.reshape(60, -1)], ids=["a channel", "Fortran", "flat"]
)
@pytest.mark.parametrize("labels", [Y, Y.astype(np.int64), Y.astype(">u2"), Y[:, None]])
def test_shapes_and_types_that_mean_the_same_are_read(images: Any, labels: Any, tmp_path: Path) -> None:
    npz(tmp_path / "a.npz", x_train=images, y_train=labels)
    split = folder_split(tmp_path, "train")
    np.testing.assert_array_equal(split.images, X.reshape(60, -1))
    np.testing.assert_array_equal(split.labels, Y)
    assert (split.height, split.width) == ((1, 30) if images.ndim == 2 else (6, 5))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": np.stack([X] * 3, -1)}, "wrong array x_train: .*expected grey images.*got uint8 of shape"),
        ({"x_train": X / np.float32(255)}, "wrong array x_train: .*expected pixels of type uint8, 0 to 255, got float32"),
        ({"x_train": X[0, 0]}, "wrong array x_train: .*expected images"),
        ({"y_train": Y.astype(float)}, "wrong array y_train: .*expected one integer a row"),
        ({"y_train": np.eye(10, dtype=int)[Y]}, "wrong array y_train: .*expected one integer a row"),
        ({"y_train": Y.astype(int) + 250}, "wrong labels: .*expected 0 to 255, got 250 to 259"),
        ({"y_train": Y.astype(int) - 1}, "wrong labels: .*expected 0 to 255, got -1 to 8"),
        ({"y_train": Y[1:]}, "expected 60 labels, got 59"),
        ({"y_train": np.array([{}] * 60)}, "wrong array y_train: .*expected one integer a row"),
        ({"y_train": None}, "no arrays for train: .*expected x_train and y_train, or train_images and train_labels"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_grey_images_with_labels_are_wrong_data(
    arrays: dict[str, Any], words: str, tmp_path: Path
) -> None:
    held = {"x_train": X, "y_train": Y} | arrays
    npz(tmp_path / "a.npz", **{name: array for name, array in held.items() if array is not None})
    with pytest.raises(DataError, match=words):
        folder_split(tmp_path, "train")


def member_of(header: bytes, body: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train.npy", header + body)
        archive.writestr("y_train.npy", npy(Y))
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a zip archive"),
        (npy(X), "not a zip archive"),
        (member_of(b""), "x_train is not an array"),
        (member_of(header("{'descr': " + "(" * 900)), "x_train is not an array"),
        (member_of(header("{'descr': '|u1', 'fortran_order': False, 'shape': (True, 2, 2)}\n"), b"1234"), "not an array"),
        (member_of(header("{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999, 99999, 9)}\n"), b"12"), "expected 8999909999100009 bytes"),
        (member_of(npy(X)[:-1]), "wrong array x_train: .*expected 1800 bytes as its header says, got 1799"),
        (member_of(npy(X) + b"x"), "wrong array x_train: .*expected 1800 bytes as its header says, got 1801"),
    ],
)  # fmt: skip
def test_a_hostile_npz_is_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        folder_split(tmp_path, "train")
    assert "\n" not in str(caught.value)


def test_a_header_that_claims_to_be_long_costs_no_memory(tmp_path: Path) -> None:
    claimed = 1 << 26
    content = member_of(b"\x93NUMPY\2\0" + claimed.to_bytes(4, "little"), b" " * claimed)
    (tmp_path / "a.npz").write_bytes(content)
    del content
    tracemalloc.start()
    with pytest.raises(DataError, match="x_train is not an array"):
        folder_split(tmp_path, "train")
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("place", [0.3, 0.9])
def test_damage_in_the_middle_of_an_array_is_found(place: float, compressed: bool, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 28, 28)).astype(np.uint8)
    body = bytearray(npz(tmp_path / "a.npz", compressed, x_train=pixels, y_train=Y).read_bytes())
    body[int(len(body) * place)] ^= 1
    (tmp_path / "a.npz").write_bytes(body)
    with pytest.raises(DataError, match=r"damaged zip archive: .*CRC|damaged zip archive: .*Error"):
        folder_split(tmp_path, "train")


@pytest.mark.parametrize("compressed", [False, True])
def test_a_mutated_npz_is_read_or_refused(compressed: bool, tmp_path: Path) -> None:
    good, rng = npz(tmp_path / "a.npz", compressed, **MEDMNIST).read_bytes(), random.Random(0)
    mutations: list[Any] = [
        lambda body: body.__setitem__(rng.randrange(len(body)), rng.randrange(256)),
        lambda body: body.__delitem__(slice(rng.randrange(len(body)), None)),
        lambda body: body.__delitem__(slice(at := rng.randrange(len(body)), at + rng.randrange(40))),
        lambda body: body.__setitem__(slice(at := rng.randrange(-600, 0), at + 4), rng.randbytes(4)),
    ]
    refused = 0
    for _ in range(600):
        body = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            if body:
                rng.choice(mutations)(body)
        (tmp_path / "a.npz").write_bytes(body)
        try:
            folder_split(tmp_path, "train")
        except DataError:
            refused += 1
    assert refused > 200
