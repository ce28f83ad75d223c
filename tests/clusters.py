"""A scheduler and workers of Dask as processes on loopback, and a proxy that counts what passes between them."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from conftest import clean_environment


class Process:
    """A process of the cluster; it is killed at the end, whatever its state."""

    def __init__(self, module: str, *arguments: object, log: Path, **environment: object) -> None:
        self.log = log
        with log.open("w") as out:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=clean_environment(**environment),
                cwd=log.parent,
                start_new_session=True,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and, if it has any, its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.popen.wait()

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)


class Cluster:
    """A scheduler, and workers that come and go."""

    def __init__(self, folder: Path, stack: ExitStack, *options: object, **environment: object) -> None:
        self.folder, self._stack, self.environment = folder, stack, environment
        file = folder / "scheduler.json"
        self.scheduler = self._start(
            "dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            0,
            "--no-dashboard",
            "--scheduler-file",
            file,
            *options,
        )
        until(lambda: file.exists() and file.stat().st_size, "the scheduler to start")
        self.address: str = json.loads(file.read_text())["address"]
        self.workers: list[Process] = []

    def _start(self, module: str, *arguments: object, **environment: object) -> Process:
        log = self.folder / f"{module}-{len(list(self.folder.glob('*.log')))}.log"
        process = Process(module, *arguments, log=log, **{**self.environment, **environment})
        self._stack.callback(process.kill)
        return process

    def worker(self, *options: object, threads: int = 1, address: str = "", **environment: object) -> Process:
        """Start a worker with some threads; do not wait for it."""
        started = self._start(
            "dask_worker",
            address or self.address,
            *("--no-nanny", "--no-dashboard", "--host", "127.0.0.1", "--memory-limit", 0),
            *("--nthreads", threads, "--local-directory", self.folder),
            *options,
            **environment,
        )
        self.workers.append(started)
        return started


@contextmanager
def cluster(folder: Path, *workers: int, **environment: object) -> Iterator[Cluster]:
    """A cluster with one worker for each of these numbers of threads."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        made = Cluster(folder, stack, **environment)
        for threads in workers:
            made.worker(threads=threads)
        yield made


def until(holds: Any, what: str, seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.02)


class Proxy:
    """Stands before a scheduler, and counts the bytes that it gets and that it sends."""

    def __init__(self, address: str) -> None:
        self._target = int(address.rpartition(":")[2])
        self.received = self.sent = 0
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            theirs = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [ours, theirs]
            for source, target in ((ours, theirs), (theirs, ours)):
                thread = threading.Thread(target=self._pass, args=(source, target), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
                if target.getpeername()[1] == self._target:
                    self.received += len(data)
                else:
                    self.sent += len(data)
        _end(source, target)

    def close(self) -> None:
        """Cut all connections."""
        _end(self._listener, *self._sockets)
        for thread in self._threads:
            thread.join(10)
        for each in (self._listener, *self._sockets):
            each.close()


def _end(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
