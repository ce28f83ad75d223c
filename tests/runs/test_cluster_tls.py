"""A cluster with TLS, set up word for word as docs/scaling.md says (by the program openssl), and what it refuses."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster, cluster
from conftest import Finished, Program

import mnist_softmax as ms

pytest.importorskip("distributed")
pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs the program openssl")

TEXT = (Path(ms.__file__).parent.parent / "docs" / "scaling.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("\n### Security\n")[2]
TRAIN = ["train", "--solver", "lbfgs", "--epochs", "5", "--dataset", "mnist-sample"]
#: Seconds that a scheduler may be away.
PATIENCE = 2
PATIENT: Any = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": PATIENCE}


def certificates(folder: Path) -> Path:
    """A folder with an authority, a certificate and, for DASK_CONFIG, the configuration."""
    folder.mkdir()
    commands = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)[0]
    subprocess.run(["sh", "-euc", commands], cwd=folder, capture_output=True, check=True)
    configuration = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)[0]
    (folder / "tls.yaml").write_text(configuration.replace("/path/to", folder.as_posix()))
    return folder


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates(tmp_path_factory.mktemp("authority") / "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates(tmp_path_factory.mktemp("authority") / "theirs")


@pytest.fixture(scope="module")
def encrypted(ours: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("dask"), 1, DASK_CONFIG=ours) as made:
        yield made


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("dask")) as made:
        yield made


def test_the_same_bits_over_tls(
    process: Program, program: Program, tmp_path: Path, encrypted: Cluster, ours: Path
) -> None:
    assert encrypted.address.startswith("tls://127.0.0.1:")
    assert program(*TRAIN, "--out", "local.npy").code == 0
    done = process(*TRAIN, "--out", "w.npy", "--cluster", encrypted.address, DASK_CONFIG=ours)
    assert (done.code, done.err.count("warning")) == (0, 0), done.err
    assert (tmp_path / "w.npy").read_bytes() == (tmp_path / "local.npy").read_bytes()


def refused(done: Finished, code: int, error: str) -> None:
    assert done.code == code, done.err
    assert re.fullmatch(f"mnist-softmax: error: {error}.*\n", done.err), done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("who", "to", "code", "error"),
    [
        (
            "nobody",
            "tls://",
            2,
            r"cannot connect: tls://\S*: got TLS expects .* \(perhaps check your TLS config",
        ),
        ("nobody", "tcp://", 5, "no answer from the scheduler: tcp://.*; .* check .* tcp:// or tls://"),
        ("theirs", "tls://", 5, r"no answer from the scheduler: tls://\S*: got .*CERTIFICATE_VERIFY_FAILED"),
        (
            "ours",
            "tls:// of a plain one",
            5,
            r"no answer from the scheduler: tls://\S*: got .*SSL",
        ),
    ],
)
def test_who_has_no_certificate_or_another_gets_one_line(
    process: Program, request: pytest.FixtureRequest, who: str, to: str, code: int, error: str
) -> None:
    made: Cluster = request.getfixturevalue("plain" if to.endswith("plain one") else "encrypted")
    environment = {"DASK_CONFIG": request.getfixturevalue(who)} if who != "nobody" else {}
    arguments = [*TRAIN, "--cluster", made.address.replace(made.address[:6], to[:6])]
    done = process(*arguments, timeout=PATIENCE + 5 + 3, **environment, **PATIENT)  # 3 s to start the program
    refused(done, code, error)


@pytest.mark.parametrize(
    ("changes", "to", "code", "error"),
    [
        ({"client.cert": "cert.pem", "client.key": "key.pem"}, "tls://", 5, "no answer .*: tls://.*: got "),
        ({}, "tcp://", 2, "cannot connect: tcp://.*: got encryption required"),
        (
            {"client.cert": "none.pem"},
            "tls://",
            2,
            "cannot read the certificates of Dask's configuration: got .*No such",
        ),
        ({"client.key": "key.pem"}, "tls://", 2, "cannot read the certificates .*KEY_VALUES_MISMATCH"),
    ],
    ids=["another authority, which trusts ours", "tcp:// is forbidden", "no file", "another key"],
)
def test_a_configuration_that_does_not_fit_gets_one_line(
    program: Program,
    encrypted: Cluster,
    ours: Path,
    theirs: Path,
    changes: Any,
    to: str,
    code: int,
    error: str,
) -> None:
    import dask

    other: dict[str, Any] = {
        f"distributed.comm.tls.{key}": str(theirs / name) for key, name in changes.items()
    }
    other["distributed.comm.timeouts.connect"] = PATIENCE
    configuration = dask.config.merge(dask.config.config, dask.config.collect([str(ours)], {}))
    with dask.config.set(configuration), dask.config.set(other):
        done = program(*TRAIN, "--cluster", encrypted.address.replace("tls://", to))
    refused(done, code, error)
