"""The table of datasets: what every entry must have, and MNIST's own figures."""

import re
from math import prod
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mnist_softmax.data import catalog
from mnist_softmax.data.catalog import DATASETS, MNIST, MNIST_SAMPLE, SPLIT_FILES


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_has_the_files_of_both_splits_with_sizes_and_hashes(name: str) -> None:
    dataset = DATASETS[name]
    assert dataset.name == name == name.strip("./\\ ").lower(), "it is a folder of the cache"
    assert [file.name for file in dataset.files] == [file for pair in SPLIT_FILES.values() for file in pair]
    for file in dataset.files:
        assert file.gz_name == f"{file.name}.gz"
        assert re.fullmatch("[0-9a-f]{64}", file.gz_sha256)
        assert file.raw_sha256 is None or re.fullmatch("[0-9a-f]{64}", file.raw_sha256)
        assert 0 < file.gz_bytes < file.raw_bytes
    assert 2 <= len(set(dataset.class_names)) == len(dataset.class_names) <= 256


@pytest.mark.parametrize("name", DATASETS)
def test_mirrors_are_folders_on_hosts_of_their_own_and_only_the_sample_has_none(name: str) -> None:
    mirrors = [urlsplit(url) for url in DATASETS[name].mirrors]
    assert all(url.scheme in ("http", "https") and url.path.endswith("/") for url in mirrors)
    assert len({url.hostname for url in mirrors}) == len(mirrors)
    assert bool(mirrors) == (name != "mnist-sample")


def test_sizes_follow_the_number_of_rows() -> None:
    sizes = {name: [file.raw_bytes for file in DATASETS[name].files] for name in ("mnist", "mnist-sample")}
    rows = {"mnist": (60_000, 10_000), "mnist-sample": (10_000, 2_000)}
    for name, counts in rows.items():
        assert sizes[name] == [size for n in counts for size in (16 + prod((n, 28, 28)), 8 + n)]
    assert all(file.raw_sha256 for dataset in (MNIST, MNIST_SAMPLE) for file in dataset.files)


def test_licences_are_known_and_the_sample_has_that_of_mnist() -> None:
    licences = {name: dataset.licence for name, dataset in DATASETS.items()}
    assert licences.pop("mnist-sample") == licences["mnist"]
    assert licences == {"mnist": "CC BY-SA 3.0", "fashion-mnist": "MIT", "kmnist": "CC BY-SA 4.0"}
    assert MNIST_SAMPLE.licence in (Path(catalog.__file__).parent / "sample" / "LICENSE").read_text()
