"""Addresses of no scheduler, and a Dask that is configured wrongly: one line, in time."""

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from clusters import cluster, until
from conftest import Finished, Program, clean_environment
from servers import Server

pytest.importorskip("distributed")

#: Seconds that a scheduler may be away; the program may take five more, and the time of its start.
PATIENCE, BEYOND = 1, 5 + 3
OF_PATIENCE = "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT"
PATIENT: Any = {OF_PATIENCE: PATIENCE}
TRAIN = ["train", "--dataset", "mnist-sample", "--solver", "lbfgs", "--epochs", "1", "--cluster"]
WARNING = "mnist-softmax: warning: no encryption and no check of who connects: "


def refused(code: int, error: str, done: Any) -> None:
    assert done.code == code, done.err
    assert re.fullmatch(f"mnist-softmax: error: {error}\n", done.err), done.err
    assert done.out == ""


@pytest.mark.parametrize(
    "address",
    [
        "",
        "x",
        "Local",
        "tcp://host",
        "tcp://:8786",
        "tcp://127.0.0.1:",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        pytest.param("tcp://127.0.0.1:" + "1" * 5000, id="a long number"),
        "tcp://127.0.0.1:8786/",
        "tcp://::1:8786",
        "http://127.0.0.1:8786",
        "inproc://127.0.0.1/1/1",
        "tcp://127.0.0.1:8786\ntls://127.0.0.1:8786",
        "tcp://somebody:secret@127.0.0.1:8786",
    ],
)
def test_what_is_no_address_is_wrong_usage(program: Program, address: str) -> None:
    done = program(*TRAIN, address)
    refused(2, "wrong address of a cluster: .*expected tcp://HOST:PORT, tls://HOST:PORT or local", done)
    assert "secret" not in done.err


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("tcp://127.0.0.1:1", "got "),
        ("[::1]:1", "got "),
        (f"tcp://{'a' * 64}.localhost:1", "got .*(too long|too large)"),  # no resolver is asked
    ],
)
def test_nobody_listens(process: Program, address: str, error: str) -> None:
    done = process(*TRAIN, address, timeout=PATIENCE + BEYOND, **PATIENT)
    done = done._replace(err=re.sub(f"^{WARNING}.*\n", "", done.err))
    refused(5, f"no answer from the scheduler: {re.escape(address)}: {error}.*; start one with .*", done)


@contextmanager
def listening(greeting: bytes) -> Iterator[str]:
    """The address of somebody who greets and then waits."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection = stack.enter_context(listener.accept()[0])
                    connection.sendall(greeting)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with suppress(OSError):  # wakes accept
            listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH_9.2\r\n"], ids=["silence", "another language"])
def test_somebody_else_listens(process: Program, greeting: bytes) -> None:
    with listening(greeting) as address:
        done = process(*TRAIN, address, timeout=PATIENCE + BEYOND, **PATIENT)
    refused(5, f"no answer from the scheduler: {address}: got .*; start one with .*", done)


def test_a_web_server_listens(process: Program) -> None:
    with Server() as server:
        done = process(*TRAIN, f"127.0.0.1:{server.port}", timeout=PATIENCE + BEYOND, **PATIENT)
    refused(5, "no answer from the scheduler: 127.0.0.1:.*: got .*; start one with .*", done)


def test_a_frozen_scheduler_and_a_worker_are_no_scheduler(process: Program, tmp_path: Path) -> None:
    with cluster(tmp_path / "dask", 1) as made:
        until(lambda: "Registered to:" in made.workers[0].log.read_text(), "the worker")
        worker = re.findall(r"Start worker at: *(\S+)", made.workers[0].log.read_text())[0]
        done = process(*TRAIN, worker, timeout=PATIENCE + BEYOND, **PATIENT)
        refused(5 if "no answer" in done.err else 2, f".*: {worker}: got .*", done)  # by Dask's version
        made.scheduler.freeze()
        done = process(*TRAIN, made.address, timeout=PATIENCE + BEYOND, **PATIENT)
        made.scheduler.thaw()
    refused(5, f"no answer from the scheduler: {made.address}: got silence for 1 s; start one with .*", done)


#: A resolver that never answers.
RESOLVER = """
import socket, sys, threading
socket.getaddrinfo = lambda *a, **k: threading.Event().wait()
from mnist_softmax.cli.main import main
main()
"""


def test_a_resolver_that_never_answers(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESOLVER, *TRAIN, "tcp://host:8786"],
        cwd=tmp_path,
        env=clean_environment(**PATIENT),
        capture_output=True,
        text=True,
        timeout=PATIENCE + BEYOND,
        check=False,
    )
    warning, error = done.stderr.splitlines()
    assert warning.startswith(f"{WARNING}tcp://host:8786; whoever reaches an open port")
    refused(5, "no answer .*: got silence for 1 s; .*", Finished(done.returncode, done.stdout, f"{error}\n"))


@pytest.mark.parametrize("patience", ["soon", "None"])
def test_a_patience_that_is_none(process: Program, patience: str) -> None:
    environment: Any = {OF_PATIENCE: patience}
    refused(2, "wrong configuration of Dask: got .*", process(*TRAIN, "local", **environment))


def test_a_configuration_that_is_no_yaml(process: Program, tmp_path: Path) -> None:
    (tmp_path / "dask.yaml").write_text("distributed: [")
    done = process(*TRAIN, "local", DASK_CONFIG=tmp_path / "dask.yaml")
    refused(2, "wrong configuration of Dask: got .*dask.yaml.*", done)
