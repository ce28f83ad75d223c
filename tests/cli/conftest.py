"""What the tests of the command line need around them."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import run_here, write_folder


@pytest.fixture(autouse=True, scope="session")
def sigint_is_not_ignored() -> Iterator[None]:
    """The background of a shell script ignores it, and so would every process that a test starts."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights.npy, trained on the folder small beside it."""
    folder = tmp_path_factory.mktemp("made")
    write_folder(folder / "small", "train", rows=300)
    write_folder(folder / "small", "test", rows=100, seed=1)
    assert run_here(["train", "--data-dir", "small", "--epochs", 3], folder).code == 0
    return folder


@pytest.fixture
def trained(made: Path, tmp_path: Path) -> Path:
    """The same weights, to change."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "weights.npy"
