"""``import mnist_softmax``: what it offers, what it costs, and that it needs none of the command line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import clean_environment, write_folder

import mnist_softmax as ms
from mnist_softmax.data.catalog import DATASETS
from mnist_softmax.errors import UsageError


def python(code: str, cwd: Path) -> None:
    """Run `code` in an interpreter of its own, warnings being errors; it may print nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=cwd,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_it_imports_nothing_else(tmp_path: Path) -> None:
    python(
        "import sys; before = set(sys.modules)\n"
        "import mnist_softmax\n"
        "dir(mnist_softmax), mnist_softmax.__version__\n"
        "outside = {'numpy', 'click', 'requests', 'tqdm', 'msgspec', 'threadpoolctl', 'filelock', 'platformdirs'}\n"
        "assert not outside & set(sys.modules), outside & set(sys.modules)\n"
        "ours = {name for name in set(sys.modules) - before if name.startswith('mnist_softmax.')}\n"
        "assert ours <= {'mnist_softmax.version'}, ours\n"
        "mnist_softmax.load\n"
        "assert 'numpy' in sys.modules\n",
        tmp_path,
    )


def test_it_works_without_the_packages_of_the_command_line(tmp_path: Path) -> None:
    write_folder(tmp_path / "d", "train", rows=300)
    write_folder(tmp_path / "d", "test", seed=1)
    python(
        "import sys; sys.modules.update(dict.fromkeys(['click', 'tqdm', 'requests']))\n"
        "import mnist_softmax as ms\n"
        "for where, least in (({'dataset': 'mnist-sample'}, 0.85), ({'data_dir': 'd'}, 0)):\n"
        "    train, test = (ms.open_split(split=split, **where) for split in ('train', 'test'))\n"
        "    model = ms.train(train, features=('deskew',), epochs=2, lr=0.1)\n"
        "    model.save('w.npy')\n"
        "    loaded = ms.load('w.npy')\n"
        "    assert loaded.receipt == model.receipt\n"
        "    accuracy = ms.evaluate(loaded, test).accuracy\n"
        "    assert accuracy == (loaded.predict(test.images) == test.labels).mean() > least\n"
        "assert all(sys.modules[name] is None for name in ('click', 'tqdm', 'requests'))\n",
        tmp_path,
    )


def test_the_example_of_the_readme_works_on_arrays() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 3
    images = rng.integers(0, 120, (200, 5, 4), np.uint8)
    images[np.arange(200), labels] += 100  # a bright line, a higher or a lower one
    split = ms.Split.of(images, labels, ["a", "b", "c"])
    model = ms.train(split, lr=0.2, reg=1e-4)
    assert isinstance(model, ms.Model)
    assert ms.evaluate(model, split).accuracy > 0.9
    probabilities = model.predict_proba(images[:7])
    assert (model.predict(images[:7]) == probabilities.argmax(axis=1)).all()
    assert model.receipt is not None
    assert model.receipt.class_names == ["a", "b", "c"]


def test_images_of_floats_are_refused_by_every_door() -> None:
    images, labels = np.zeros((20, 4, 4)), np.arange(20) % 2
    refused = r"images are uint8, 0 to 255, of shape \(M, N\) or \(M, height, width\), got float64 of shape"
    with pytest.raises(TypeError, match=refused):
        ms.Split.of(images, labels)
    model = ms.train(ms.Split.of(images.astype(np.uint8), labels), epochs=1)
    for ask in (model.predict, model.predict_proba):
        with pytest.raises(TypeError, match=refused):
            ask(images)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"labels are integers from 0 to 255, .*got float64"):
        ms.Split.of(images.astype(np.uint8), labels / 1)


def test_every_name_that_is_promised_exists() -> None:
    assert {"Model", "Split", "evaluate", "load", "open_split", "train", "__version__"} == set(ms.__all__)
    for name in ms.__all__:
        assert getattr(ms, name) is getattr(ms, name)
        assert name in dir(ms)
    assert ms.Model.__name__ == "Model"
    assert ms.load.__name__ == "load"
    namespace: dict[str, object] = {}
    exec("from mnist_softmax import *", namespace)
    assert set(ms.__all__) <= namespace.keys()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mnist_softmax' has no attribute 'fit'"):
        ms.fit  # noqa: B018
    assert not hasattr(ms, "numpy")
    with pytest.raises(ImportError):
        from mnist_softmax import nothing  # noqa: F401


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            {"dataset": "emnist"},
            f"no such dataset: expected one of {', '.join(DATASETS)}, got emnist",
        ),
        (
            {"dataset": "mnist-sample", "split": "validation"},
            "no such split: expected train or test, got validation",
        ),
        ({"dataset": "mnist", "data_dir": "d"}, "a dataset and a data_dir exclude each other"),
        ({"data_dir": "none"}, "no such folder: none"),
    ],
)
def test_data_that_cannot_be_opened_is_a_wrong_use(arguments: dict[str, str], reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        ms.open_split(**arguments)  # type: ignore[arg-type]
    assert str(caught.value) == reason
