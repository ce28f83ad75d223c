"""docs/data.md: its table agrees with the catalog, and its programs run."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archives import as_idx, learnable

from mnist_softmax.data.catalog import DATASETS
from mnist_softmax.data.folder import folder_split

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
UPRIGHT, ARRAYS, PICTURES = re.findall("```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("name", DATASETS)
def test_the_table_agrees_with_the_catalog(name: str) -> None:
    known = DATASETS[name]
    (row,) = (line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith(f"| `{name}` |"))
    _, classes, train, test, download, licence, _ = row
    assert classes.startswith(f"{len(known.class_names)} ")
    assert [train, test] == [f"{file.shape[0]:,}" for file in known.files[::2]]
    assert licence == known.licence
    if known.mirrors and all(file.size_is_known for file in known.files) and "same" not in download:
        assert (
            download == f"{sum({f.packed_name: f.packed_bytes for f in known.files}.values()) / 1e6:.1f} MB"
        )


def run(program: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def accuracy(program: Any, data_dir: str) -> Any:
    trained = program("train", "--data-dir", data_dir, "--epochs", 30)
    assert trained.code == 0, trained.err
    return json.loads(program("eval", "--json").out)["accuracy"]


def test_the_programs_for_arrays_and_pictures_have_six_lines_and_their_imports() -> None:
    for program in (ARRAYS, PICTURES):
        lines = [line for line in program.splitlines() if line and not line.startswith(("import", "from"))]
        assert len(lines) <= 6


def test_a_folder_is_made_from_arrays(program: Any, tmp_path: Path) -> None:
    for name, array in zip(("images", "labels"), learnable(120, 4, 9, 7, 0), strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    run(ARRAYS, tmp_path)
    assert accuracy(program, "mine.npz") == 1
    assert [len(folder_split(tmp_path / "mine.npz", split).labels) for split in ("train", "test")] == [
        100,
        20,
    ]


def test_a_folder_is_made_from_pictures(program: Any, tmp_path: Path) -> None:
    from PIL import Image

    names = ("dark", "na\u00efve", "white")
    for number, (image, label) in enumerate(zip(*learnable(36, 3, 40, 30, 0), strict=True)):
        folder = tmp_path / "pictures" / names[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.stack([image] * 3, -1)).save(folder / f"{number}.png")
    run(PICTURES, tmp_path)
    assert accuracy(program, "pictures") == 1
    split = folder_split(tmp_path / "pictures", "train")
    assert (split.images.shape, split.class_names) == ((30, 784), tuple(sorted(names)))


def test_sideways_images_are_turned_upright(tmp_path: Path) -> None:
    images, labels = learnable(60, 10, 6, 5, 0)
    (tmp_path / "sideways").mkdir()
    for split in ("train", "test"):
        for what, array in (("images-idx3", images.transpose(0, 2, 1)), ("labels-idx1", labels)):
            (tmp_path / "sideways" / f"emnist-digits-{split}-{what}-ubyte").write_bytes(as_idx(array))
    run(UPRIGHT, tmp_path)
    for split in ("train", "test"):
        found = folder_split(tmp_path / "upright.npz", split)
        np.testing.assert_array_equal(found.images, images.reshape(60, 30))
        np.testing.assert_array_equal(found.labels, labels)
