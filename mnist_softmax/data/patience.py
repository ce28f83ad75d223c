"""How long a fetch waits and whom it tells: apart from what fetches, which takes time to load."""

from collections.abc import Callable
from dataclasses import dataclass

#: Called with the file's name, the bytes so far and the total bytes, None if that is not known.
Progress = Callable[[str, int, int | None], None]
#: Called with a line for the user, such as why a mirror failed and what happens next.
Notify = Callable[[str], None]


def ignore(*_: object) -> None:
    """A Progress and a Notify that does nothing."""


@dataclass(frozen=True)
class Patience:
    """Time limits and retries. Times in seconds.

    Attributes
    ----------
    answer_seconds : for name look-up, connection, redirects, headers and the first byte of the body together.
    slow_bytes_per_second, slow_seconds : a mirror that is slower than this for this long has stalled.
    file_seconds : for one file from one mirror, whatever its speed; a file of more than 50 MB gets more.
    tries : for one file at one mirror; it is tried again only after a failure that may pass.
    backoff_seconds : pause before the second try, doubled for each further one, give or take half.
    retry_after_seconds : a longer Retry-After is cut to this.
    budget_seconds : no retry is made that could bring the time lost on failures above this. Every mirror gets
        a first try, so one good mirror is enough; first tries share what is left of the budget, so many
        silent or stalling mirrors take no longer than a few.
    lock_seconds : to wait for another process that is filling the same cache.
    """

    answer_seconds: float = 15.0
    slow_bytes_per_second: float = 10_000.0
    slow_seconds: float = 20.0
    file_seconds: float = 600.0
    tries: int = 3
    backoff_seconds: float = 0.5
    retry_after_seconds: float = 30.0
    budget_seconds: float = 55.0
    lock_seconds: float = 600.0

    def seconds_for(self, size: int) -> float:
        """The time limit for a file of `size` bytes."""
        return self.file_seconds * max(1.0, size / 50e6)


NORMAL = Patience()
#: Three silent mirrors cost nine seconds; one that answers has the usual time.
QUICK = Patience(answer_seconds=3.0, tries=1)
