"""Fixtures that several test files share: the real files, the program as a process, small IDX folders."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pytest

from mnist_softmax import blas
from mnist_softmax.cli import main, output
from mnist_softmax.data.idx import write_idx

IMAGE_NAMES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
LABEL_NAMES = {"train": "train-labels-idx1-ubyte", "test": "t10k-labels-idx1-ubyte"}


class Finished(NamedTuple):
    """What a process left."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> Any:
        """The last line of stderr, which is where an error stands."""
        return self.err.splitlines()[-1] if self.err else ""


class Program(Protocol):
    """The fixtures `program` and `process`: arguments in, how it finished out."""

    def __call__(
        self,
        *arguments: object,
        cwd: Path = ...,
        timeout: float = ...,
        stdin: str | bytes | None = ...,
        **environment: object,
    ) -> Finished: ...


def clean_environment(**changes: Any) -> Any:
    """The environment without this program's variables, with some changes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MNIST_SOFTMAX_")}
    return {**kept, **{name: str(value) for name, value in changes.items()}}


def _text_stream(content: bytes = b"") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", errors="backslashreplace")


def run_here(arguments: Any, cwd: Path, stdin: str | bytes | None = None, **environment: Any) -> Finished:
    """Run the command line in this process; what it lets through, a bug, fails the test."""
    content = stdin.encode() if isinstance(stdin, str) else stdin or b""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MNIST_SOFTMAX_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, str(value))
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["mnist-softmax", *map(str, arguments)])
        patch.setattr(sys, "stdin", _text_stream(content))
        out, err = _text_stream(), _text_stream()
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(output, "prepare_streams", lambda: None)
        code = main._run()
        texts = []
        for stream in (out, err):
            stream.flush()
            texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    return Finished(code, *texts)


@pytest.fixture
def program(tmp_path: Path) -> Any:
    """Run ``mnist-softmax`` in this process, in a folder of its own, with an empty cache."""

    def run(
        *arguments: Any, cwd: Path = tmp_path, timeout: Any = 0, stdin: Any = None, **environment: Any
    ) -> Any:
        environment.setdefault("MNIST_SOFTMAX_CACHE_DIR", tmp_path / "cache")
        return run_here(arguments, cwd, stdin, **environment)

    return run


@pytest.fixture
def process(tmp_path: Path) -> Any:
    """The same in a process of its own, for what only a process shows."""

    def run(
        *arguments: Any, cwd: Path = tmp_path, timeout: Any = 60, stdin: Any = None, **environment: Any
    ) -> Any:
        environment.setdefault("MNIST_SOFTMAX_CACHE_DIR", tmp_path / "cache")
        done = subprocess.run(
            [sys.executable, "-m", "mnist_softmax", *map(str, arguments)],
            cwd=cwd,
            env=clean_environment(**environment),
            input=stdin,
            capture_output=True,
            text=not isinstance(stdin, bytes),
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def mnist_folder() -> Any:
    """The folder with the four real MNIST files; without it the tests that need it are skipped."""
    folder = os.environ.get("MNIST_SOFTMAX_TEST_DATA")
    if not folder:
        pytest.skip("MNIST_SOFTMAX_TEST_DATA does not name a folder with the four MNIST files")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def cache(mnist_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache filled by ``mnist-softmax download --from``."""
    folder = tmp_path_factory.mktemp("cache")
    done = run_here(["download", "--from", mnist_folder, "--cache-dir", folder], folder)
    assert done.code == 0, done.err
    return folder


def write_folder(
    folder: Path,
    split: str = "train",
    rows: int = 60,
    height: int = 8,
    width: int = 8,
    classes: int = 10,
    seed: int = 0,
) -> Any:
    """Write an image and a label file whose classes can be told apart; return (images, labels)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) % classes).astype(np.uint8)
    prototypes = np.random.default_rng(99).integers(0, 200, (classes, height, width))
    images = (prototypes[labels] + rng.integers(0, 55, (rows, height, width))).astype(np.uint8)
    for name, array in ((IMAGE_NAMES[split], images), (LABEL_NAMES[split], labels)):
        with open(folder / name, "wb") as file:
            write_idx(file, array)
    return images, labels


@pytest.fixture
def small_folder(tmp_path: Path) -> Any:
    """A folder with a small data set of 8 x 8 images: 300 training rows, 100 test rows, ten classes."""
    folder = tmp_path / "small"
    write_folder(folder, "train", rows=300)
    write_folder(folder, "test", rows=100, seed=1)
    return folder


def pytest_sessionfinish(session: Any, exitstatus: Any) -> None:
    """Under MNIST_SOFTMAX_TEST_NO_SKIPS (CI sets it) a run with a skipped test has failed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("MNIST_SOFTMAX_TEST_NO_SKIPS") and skipped and exitstatus == pytest.ExitCode.OK:
        reporter.write_line(
            f"\n{len(skipped)} tests were skipped, and MNIST_SOFTMAX_TEST_NO_SKIPS is set", red=True
        )
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(params=[False, True], ids=["packed products", "small products"])
def form_of_products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form that products have where BLAS has no path for small ones, and where it has."""
    monkeypatch.setattr(blas, "has_small_path", lambda: request.param)
