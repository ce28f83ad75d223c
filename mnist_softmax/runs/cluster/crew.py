"""The workers that may be used for a job, and the work that is handed out to them, again if it is lost."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from secrets import token_urlsafe
from typing import Any, TypeAlias

from mnist_softmax.errors import ClusterError
from mnist_softmax.rows import OnRows
from mnist_softmax.runs.cluster.connection import Connection, lost_errors

#: Seconds between two looks at who is there.
_BETWEEN_LOOKS = 1.0
#: The least time that the scheduler has to answer in.
_LEAST_PATIENCE = 3.0
#: How often a unit is handed out. Dask gives up a task for the first time when four workers died of it.
_ATTEMPTS = 3
#: Units under way or waiting at the workers, for each of their threads.
_UNITS_A_THREAD = 2
#: Characters of an error.
_LONGEST_REASON = 600

#: What happened: "rows" and how many were computed; "done" and the number of a unit, or "answer" and the
#: address of a worker, each with its future.
_Event: TypeAlias = tuple[str, Any, Any]


@dataclass(frozen=True)
class Hand:
    """Hands the tasks of a unit out to the workers `crew`, by `Client.submit` and `Client.map`."""

    client: Any
    crew: frozenset[str]
    events: SimpleQueue[_Event]

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Have one task computed; returns its future."""
        (key,) = _keys(function, 1)
        return self.client.submit(function, *arguments, key=key, **self._where)

    def map(self, function: Callable[..., Any], *arguments: Sequence[Any], shared: Any) -> list[Any]:
        """Have a task computed for each element of `arguments`; `shared` is the future of a last argument."""
        keys = _keys(function, len(arguments[0]))
        futures: list[Any] = self.client.map(function, *arguments, shared=shared, key=keys, **self._where)
        return futures

    def report(self, future: Any, rows: int) -> None:
        """Count rows as soon as a task is done."""
        future.add_done_callback(lambda _: self.events.put(("rows", rows, None)))

    @property
    def _where(self) -> dict[str, Any]:
        return {"workers": sorted(self.crew), "allow_other_workers": False, "pure": False}


#: A unit of work: it hands out tasks, and returns the future of its result.
Unit = Callable[[Hand], Any]


@dataclass(frozen=True)
class _Running:
    crew: frozenset[str]
    future: Any


def _keys(function: Callable[..., Any], count: int) -> list[str]:
    """Names of tasks that nobody else has; Dask's own are longer, and each is sent ten times."""
    return [f"{function.__name__.strip('_')}-{token_urlsafe(6)}" for _ in range(count)]


class UnfitError(Exception):
    """A worker cannot contribute: its address, and the reason."""

    @property
    def worker(self) -> str:
        """The address."""
        return str(self.args[0])

    @property
    def reason(self) -> str:
        """The reason in one line."""
        return str(self.args[1])


@dataclass
class Crew:
    """The workers of a cluster that have our versions and our data.

    `check` is a unit that raises an error on a worker that has not; see `worker.run`.

    A worker is asked when it is first seen, and gets work only when it has answered. It checks both again
    with each task: another process may come back at the same address.
    """

    connection: Connection
    check: Unit
    _fit: dict[str, int] = field(default_factory=dict)  # addresses, and their threads
    _asked: dict[str, Any] = field(default_factory=dict)  # the futures of those that have not answered
    _refused: dict[str, str] = field(default_factory=dict)  # the reasons
    _events: SimpleQueue[_Event] = field(default_factory=SimpleQueue)
    _look_at: float = 0.0
    _heard_at: float = 0.0  # when the scheduler last answered
    _present_at: float = 0.0  # when there was last a worker to hope for
    _all_until: float = 0.0  # how long to wait for those who have not answered
    _said: bool = False

    def threads(self) -> int:
        """How many tasks can run at once; raises as `results` does.

        It waits for a fit worker, and at first, as long as the patience, for the answers of all.
        """
        self._begin()
        while True:
            self._look()
            if self._fit and not (self._asked and time.monotonic() < self._all_until):
                return sum(self._fit.values())
            self._next_event()

    def results(self, units: Sequence[Unit], on_rows: OnRows = lambda _: None) -> Iterator[tuple[int, Any]]:
        """Have units of work done; yield the number and the result of each as it comes.

        At most two units for each thread are handed out at a time, so that a worker that joins gets some.

        Raises
        ------
        ClusterError : the scheduler, or every fit worker, was away for longer than the patience, or a unit
            was lost again and again.
        """
        waiting, running, lost = deque(range(len(units))), dict[int, _Running](), Counter[int]()
        self._begin()
        while waiting or running:
            self._look()
            for number in [n for n, one in running.items() if one.crew.isdisjoint(self._fit)]:
                del running[number]  # all that could do it are gone
                waiting.appendleft(number)
            while waiting and len(running) < _UNITS_A_THREAD * sum(self._fit.values()):
                number = waiting.popleft()
                running[number] = self._hand_out(number, units[number])
            kind, what, future = self._next_event()
            if kind == "rows":
                on_rows(what)
            if kind != "done" or what not in running or running[what].future is not future:
                continue
            del running[what]
            try:
                result = future.result(timeout=self.connection.patience)
            except UnfitError as error:
                self._refuse(error.worker, error.reason)
                waiting.appendleft(what)
            except lost_errors() as error:
                self._look_at = 0.0
                lost[what] += 1
                if lost[what] == _ATTEMPTS:
                    raise ClusterError("a task was lost again and again", got=error) from error
                waiting.appendleft(what)
            else:
                yield what, result

    def _begin(self) -> None:
        now = self._heard_at = self._present_at = time.monotonic()
        self._all_until = self._all_until or now + self.connection.patience

    def _hand_out(self, number: int, unit: Unit) -> _Running:
        hand = Hand(self.connection.client, frozenset(self._fit), self._events)
        future = unit(hand)
        future.add_done_callback(lambda done: self._events.put(("done", number, done)))
        return _Running(hand.crew, future)

    def _look(self) -> None:
        """See who came and who went, if the last look was a while ago."""
        now = time.monotonic()
        if now < self._look_at:
            return
        there = self.connection.workers(max(_LEAST_PATIENCE, self._heard_at + self.connection.patience - now))
        self._heard_at = now = time.monotonic()
        self._look_at = now + _BETWEEN_LOOKS
        for known in (self._fit, self._asked, self._refused):
            for address in known.keys() - there.keys():
                known.pop(address)
        for address in there.keys() - self._fit.keys() - self._asked.keys() - self._refused.keys():
            self._asked[address] = self._ask(address)
        self._fit = {address: there[address] for address in self._fit}
        if self._fit or self._asked:
            self._present_at = now
            if not self._fit and now > self._all_until and not self._said:
                self._said = True
                self.connection.notify("no worker has answered so far: they are busy, or read the data")
        elif now > self._present_at + self.connection.patience:
            reasons = "; ".join(f"{address}: {reason}" for address, reason in self._refused.items())
            raise ClusterError(
                "no worker that can be used",
                self.connection.address,
                got=reasons[:_LONGEST_REASON] or f"none for {self.connection.patience:g} s",
                remedy="start one with `dask worker`" if not reasons else "",
            )

    def _ask(self, address: str) -> Any:
        """Ask a worker whether it can contribute; it may have to read all its data first."""
        hand = Hand(self.connection.client, frozenset([address]), self._events)
        future = self.check(hand)
        future.add_done_callback(lambda done: self._events.put(("answer", address, done)))
        return future

    def _next_event(self) -> _Event:
        """What comes next, until the next look is due; answers of workers are dealt with here."""
        event: _Event = ("nothing", None, None)
        with suppress(Empty):
            event = self._events.get(timeout=max(0.0, self._look_at - time.monotonic()))
        kind, address, future = event
        if kind == "answer" and address in self._asked and self._asked[address] is future:
            del self._asked[address]
            if future.status == "finished":
                self._fit[address] = 1
                self._look_at = 0.0  # which counts its threads
            elif future.status == "error":
                error = future.exception()
                if "deserialization of the task graph" in str(error):  # Dask's words, whatever the worker is
                    raise ClusterError(
                        "the scheduler does not know the tasks of this program",
                        self.connection.address,
                        remedy="install the same mnist-softmax there",
                    )
                words = error.reason if isinstance(error, UnfitError) else f"{type(error).__name__}: {error}"
                self._refuse(address, " ".join(words.split()))
        return event  # one whose answer was lost is asked again

    def _refuse(self, address: str, reason: str) -> None:
        self._fit.pop(address, None)
        self._refused[address] = reason
        self.connection.notify(f"worker not used: {address}: {reason}")
