"""The connection to the scheduler of a Dask cluster: its address, its security, its patience, its end."""

import ipaddress
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
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
            raise _silent(self.address, self.patience) from error
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

    The patience is that of Dask's configuration, ``distributed.comm.timeouts.connect``.

    Raises
    ------
    UsageError : the extra is not installed, the address is none, or Dask has no certificates for ``tls://``.
    ClusterError : no scheduler answers.
    """
    require("distributed", "Dask", "cluster")
    import dask
    from distributed import Client

    for name in ("distributed", "tornado", "asyncio"):  # what they log takes many lines
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module="distributed")
    patience = float(dask.utils.parse_timedelta(dask.config.get("distributed.comm.timeouts.connect")))
    if address == LOCAL:
        with _local(cache_dir) as cluster, _closing(Client(cluster, set_as_default=False)) as client:
            yield Connection(client, address, patience, notify)
        return
    _check(address, notify)
    try:
        client = Client(address, timeout=patience, set_as_default=False)
    except OSError as error:
        raise _silent(address, patience) from error
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        raise UsageError("cannot connect", address, got=error) from error
    with _closing(client):
        yield Connection(client, address, patience, notify)


def lost_errors() -> tuple[type[Exception], ...]:
    """What the result of a task may raise if workers, or the scheduler, are lost on the way."""
    from concurrent.futures import CancelledError

    from distributed.scheduler import KilledWorker

    return (CancelledError, KilledWorker, OSError)


def _check(address: str, notify: Callable[[str], object]) -> None:
    """Refuse what is no address, and warn of one that anybody can use."""
    match = re.fullmatch(r"(?:(\w+)://)?(?:\[([\da-fA-F:.]+)\]|([\w.-]+)):(\d+)", address)
    if not match or match[1] not in (None, "tcp", "tls"):
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


def _silent(address: str, patience: float) -> ClusterError:
    remedy = "start one with `dask scheduler`, or check the address"
    return ClusterError(
        "no answer from the scheduler", address, got=f"silence for {patience:g} s", remedy=remedy
    )


@contextmanager
def _closing(client: Any) -> Iterator[Any]:
    try:
        yield client
    finally:
        with suppress(Exception):  # whatever it is, the work is done or given up
            client.close(timeout=_CLOSE_SECONDS)


@contextmanager
def _local(cache_dir: Path | None) -> Iterator[Any]:
    """A cluster on this machine, which ends with the block."""
    from distributed import LocalCluster

    cluster = LocalCluster(
        n_workers=cores(),
        threads_per_worker=1,
        dashboard_address=None,
        memory_limit=0,  # pages of mapped files would count
        silence_logs=logging.CRITICAL + 1,
        env={CACHE_VARIABLE: str(cache_dir.absolute())} if cache_dir else {},
    )
    try:
        yield cluster
    finally:
        with suppress(Exception):
            cluster.close(timeout=_CLOSE_SECONDS)
