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
        assert re.fullmatch("[0-9a-f]{64}", file.packed_sha256)
        assert file.raw_sha256 is None or re.fullmatch("[0-9a-f]{64}", file.raw_sha256)
        assert file.raw_bytes == 4 + 4 * len(file.shape) + prod(file.shape)
        assert file.size_is_known or file.packed_bytes < file.raw_bytes
        assert len(file.labels) == len(dataset.class_names)
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
    assert {licences.pop(f"emnist-{name}") for name in ("balanced", "letters", "digits")} == {"not stated"}
    assert licences == {
        "mnist": "CC BY-SA 3.0",
        "fashion-mnist": "MIT",
        "kmnist": "CC BY-SA 4.0",
        "qmnist": "BSD",
    }
    assert MNIST_SAMPLE.licence in (Path(catalog.__file__).parent / "sample" / "LICENSE").read_text()


def test_emnist_is_one_zip_for_all_and_each_dataset_has_members_of_its_own() -> None:
    emnist = [dataset for name, dataset in DATASETS.items() if name.startswith("emnist-")]
    assert {file.packed_name for dataset in emnist for file in dataset.files} == {"gzip.zip"}
    assert {dataset.folder for dataset in emnist} == {"emnist"}
    assert len({file.member for dataset in emnist for file in dataset.files}) == 12
    members = [file.member for file in DATASETS["emnist-letters"].files]
    assert members[0] == "gzip/emnist-letters-train-images-idx3-ubyte.gz"
    assert members[3] == "gzip/emnist-letters-test-labels-idx1-ubyte.gz"
    assert all(file.transposed == (len(file.shape) == 3) for dataset in emnist for file in dataset.files)
    rows = {
        dataset.name: [len(dataset.class_names), *(f.shape[0] for f in dataset.files[::2])]
        for dataset in emnist
    }
    assert rows == {
        "emnist-balanced": [47, 112_800, 18_800],
        "emnist-letters": [26, 124_800, 20_800],
        "emnist-digits": [10, 240_000, 40_000],
    }
    assert (
        "".join(DATASETS["emnist-balanced"].class_names) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
    )


def test_qmnist_has_names_and_sizes_of_its_own() -> None:
    names = [(file.packed_name, file.packed_size) for file in DATASETS["qmnist"].files]
    assert names[2][0] == "qmnist-test-images-idx3-ubyte.gz"
    assert names[1:4:2] == [
        ("qmnist-train-labels-idx2-int.gz", "463024 bytes"),
        ("qmnist-test-labels-idx2-int.gz", "526800 bytes"),
    ]
    assert names[0][1].startswith("at most ")
