"""The connection to the scheduler of a Dask cluster: its address, its security, its patience, its end."""

import ipaddress
import logging
import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_softmax.errors import ClusterError, UsageError, require
from mnist_softmax.rows import cores

#: The address that stands for a cluster on this machine, for the time of the command.
LOCAL = "local"
#: The variable of a worker's environment that names the cache it reads.
CACHE_VARIABLE = "MNIST_SOFTMAX_CACHE_DIR"
#: How long the end waits for the scheduler. A signal leaves the program little more.
_CLOSE_SECONDS = 1.0
#: How long for the end of a cluster of ours. If it takes longer, Dask waits for another ten at exit, in vain.
_CLOSE_LOCAL_SECONDS = 10.0


@dataclass(frozen=True)
class Connection:
    """A scheduler that answered.

    Attributes
    ----------
    client : the `distributed.Client`.
    address : of the scheduler, as it was given.
    patience : seconds that the scheduler, or all workers, may be away.
    notify : called with a message about a worker that is not used.
    """

    client: Any
    address: str
    patience: float
    notify: Callable[[str], object]

    def workers(self, within: float) -> Mapping[str, int]:
        """The address of each worker, and its number of threads; the answer comes within so many seconds.

        Raises
        ------
        ClusterError : the scheduler does not answer in time.
        """
        if self.client.status != "running":
            raise ClusterError("the connection to the scheduler was lost", self.address)
        try:
            found: dict[str, int] = self.client.nthreads(callback_timeout=within)
        except OSError as error:  # TimeoutError is one
            raise _silent(self.address, self.patience, error) from error
        return found


@contextmanager
def connected(
    address: str,
    notify: Callable[[str], object] = lambda _: None,
    cache_dir: Path | None = None,
) -> Iterator[Connection]:
    """Connect to a scheduler for the time of a block.

    Parameters
    ----------
    address : such as ``tcp://host:8786``; "local" starts a cluster of one worker for each core.
    cache_dir : where the workers of "local" find datasets.

    The patience is that of Dask's configuration, ``distributed.comm.timeouts.connect``. From here on Dask
    logs nothing in this process.

    Raises
    ------
    UsageError : the extra is not installed, the address is none, or Dask's configuration is wrong, such as
        one without certificates for ``tls://``.
    ClusterError : no scheduler answers.
    """
    patience = _patience()
    from distributed import Client

    _silence()
    if address == LOCAL:
        with _local(cache_dir) as cluster, _closing(Client(cluster, set_as_default=False)) as client:
            yield Connection(client, address, patience, notify)
        return
    _check(address, notify)
    with _closing(_client(address, patience)) as client:
        yield Connection(client, address, patience, notify)


def _patience() -> float:
    """Seconds to wait, as Dask is configured."""
    try:
        require("distributed", "Dask", "cluster")
        import dask

        return float(dask.utils.parse_timedelta(dask.config.get("distributed.comm.timeouts.connect")))
    except (ValueError, TypeError, KeyError) as error:  # a file that is no YAML, a time that is none
        raise UsageError("wrong configuration of Dask", got=error) from error


def _client(address: str, patience: float) -> Any:
    """A client that is connected.

    This takes a thread, since Dask waits without end for the first word of what listens at the address.
    """
    from distributed import Client

    made: Future[Any] = Future()

    def connect() -> None:
        try:
            made.set_result(Client(address, timeout=patience, set_as_default=False))
        except Exception as error:  # noqa: BLE001  # what listens there may be anything, and say anything
            made.set_exception(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        return made.result(timeout=patience + _CLOSE_SECONDS)
    except (TypeError, RuntimeError, ImportError) as error:  # no certificates, encryption required, versions
        raise UsageError("cannot connect", address, got=error) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # those of Dask have none
            raise UsageError("cannot read the certificates of Dask's configuration", got=error) from error
        raise _silent(address, patience, error) from error


def _silence() -> None:
    """Say nothing of what Dask and its libraries log or warn of, many lines each."""
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] in {"distributed", "tornado", "asyncio"}:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module="distributed")


def lost_errors() -> tuple[type[Exception], ...]:
    """What the result of a task may raise if workers, or the scheduler, are lost on the way."""
    from concurrent.futures import CancelledError

    from distributed.scheduler import KilledWorker

    return (CancelledError, KilledWorker, OSError)


def _check(address: str, notify: Callable[[str], object]) -> None:
    """Refuse what is no address, and warn of one that anybody can use."""
    match = re.fullmatch(r"(?:(\w+)://)?(?:\[([\da-fA-F:.]+)\]|([\w.-]+)):([0-9]+)", address)
    if not match or match[1] not in (None, "tcp", "tls") or not 0 < int(match[4][:6]) < 1 << 16:
        expected = f"tcp://HOST:PORT, tls://HOST:PORT or {LOCAL}"
        raise UsageError("wrong address of a cluster", address, expected=expected)
    if match[1] != "tls" and not _is_loopback(match[2] or match[3]):
        notify(
            f"no encryption and no check of who connects: {address}; whoever reaches an open port of a "
            "scheduler or worker can run any program there, so use tls:// (docs/scaling.md)"
        )


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _silent(address: str, patience: float, error: BaseException) -> ClusterError:
    while error.__cause__ is not None:
        error = error.__cause__
    silence = isinstance(error, TimeoutError) or not str(error)
    got = f"silence for {patience:g} s" if silence else error
    remedy = "start one with `dask scheduler`, or check the address and its tcp:// or tls://"
    return ClusterError("no answer from the scheduler", address, got=got, remedy=remedy)


@contextmanager
def _closing(opened: Any, seconds: float = _CLOSE_SECONDS) -> Iterator[Any]:
    """Close a client or a cluster after a block, within some seconds."""
    try:
        yield opened
    finally:
        with suppress(Exception):  # whatever it is, the work is done or given up
            opened.close(timeout=seconds)


@contextmanager
def _local(cache_dir: Path | None) -> Iterator[Any]:
    """A cluster on this machine, which ends with the block."""
    from distributed import LocalCluster

    # The tracker of its processes' resources warns when a signal ends this one.
    with _environment("PYTHONWARNINGS", "ignore"), _deaf_children():
        try:
            cluster = LocalCluster(
                n_workers=cores(),
                threads_per_worker=1,
                dashboard_address=None,
                memory_limit=0,  # pages of mapped files would count
                silence_logs=logging.CRITICAL + 1,
                env={CACHE_VARIABLE: str(cache_dir.absolute())} if cache_dir else {},
            )
        except (OSError, RuntimeError) as error:
            raise ClusterError("cannot start workers on this machine", got=error) from error
    with _closing(cluster, _CLOSE_LOCAL_SECONDS):
        yield cluster


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable for the processes that a block starts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Have processes that a block starts, then or later, not get the terminal's SIGINT: they end with us.

    They inherit what is blocked from the thread that starts them, and that from the one that started it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # its start lets signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
