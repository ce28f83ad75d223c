"""Fetch one verified file from a list of mirrors, or from a folder."""

import hashlib
import heapq
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, TypeAlias

from mnist_softmax.data.catalog import DataFile, mirror_bases
from mnist_softmax.data.patience import NORMAL, Notify, Patience, Progress, ignore
from mnist_softmax.data.transfer import AttemptError, receive
from mnist_softmax.data.url import Url
from mnist_softmax.errors import DataError, DownloadError, LocalIOError, UsageError
from mnist_softmax.files import atomic_write, check_writable_target, open_regular

#: When a mirror is due (first tries at once), its place in the list, the number of the try, the mirror.
_Turn: TypeAlias = tuple[float, int, int, Url]
#: The least share of `slow_seconds` that a first try gets, even when earlier files used up the budget.
_LEAST_SHARE = 0.05
_CHUNK = 1 << 20
_REMEDY = "try again later, or name another source with --mirror URL, --from DIR or MNIST_SOFTMAX_MIRROR"


@dataclass
class Experience:
    """What one run has learnt about its mirrors (base URLs); `fetch` updates it from file to file.

    Attributes
    ----------
    delivered : the mirror that delivered last; it is tried first.
    hopeless : mirrors that are not tried again, and why: the name does not resolve, or no answer came.
    lost_seconds : time spent on failures so far.
    """

    delivered: Url | None = None
    hopeless: dict[Url, str] = field(default_factory=dict)
    lost_seconds: float = 0.0


def fetch(
    file: DataFile,
    mirrors: Sequence[str],
    target: Path,
    *,
    patience: Patience = NORMAL,
    progress: Progress = ignore,
    notify: Notify = ignore,
    experience: Experience | None = None,
) -> str:
    """Fetch `file`, packed, and write it to `target` if its size and SHA-256 are right.

    Every mirror is tried once, in order, before any is tried again.

    Returns
    -------
    The URL that delivered it (without credentials).

    Raises
    ------
    UsageError : a mirror is not an http or https URL, there is no mirror, or `target` cannot be a file.
    DownloadError : no mirror delivered.
    DataError : every mirror delivered a complete body with the wrong size or hash.
    LocalIOError : `target` cannot be written, or the system has no thread, file descriptor or memory left.
    """
    known = experience if experience is not None else Experience()
    bases = sorted(mirror_bases(mirrors), key=lambda base: base != known.delivered)
    if not bases:
        raise UsageError("no mirror to fetch from", file.packed_name, remedy="name one with --mirror URL")
    check_writable_target(target, follow=False)  # before anything is requested
    failures = {base: AttemptError(known.hopeless[base]) for base in bases if base in known.hopeless}
    pending = [(0.0, place, 1, base) for place, base in enumerate(bases) if base not in known.hopeless]
    while pending:
        due, _, attempt, base = turn = heapq.heappop(pending)
        pause = max(0.0, due - time.monotonic())
        worst = pause + max(patience.answer_seconds, patience.slow_seconds)
        if attempt > 1 and known.lost_seconds + worst > patience.budget_seconds:
            continue
        began = time.monotonic()
        time.sleep(pause)
        # Mirrors that stall share what is left of the budget, so that the last one still gets a try.
        untried = [turn, *(later for later in pending if later[2] == 1)]
        left = patience.budget_seconds - known.lost_seconds - pause
        share = max(left / len(untried), patience.slow_seconds * _LEAST_SHARE)
        answer_seconds, slow_seconds = min(patience.answer_seconds, share), min(patience.slow_seconds, share)
        shared = replace(patience, answer_seconds=answer_seconds, slow_seconds=slow_seconds)
        url = base._replace(path=base.path + file.packed_name)
        try:
            with atomic_write(target, follow=False) as out:
                _attempt(url, file, shared, progress, out)
        except AttemptError as failure:
            failures[base] = failure
            known.lost_seconds += time.monotonic() - began
            again = _another_try(turn, failure, patience)
            if again:
                heapq.heappush(pending, again)
            elif failure.unreachable:
                known.hopeless[base] = failure.reason
            if pending:
                following = "trying it again" if pending[0] == again else "trying the next"
                notify(f"mirror {base.shown} failed: {failure.reason}; {following}")
            continue
        known.delivered = base
        return url.shown
    raise _all_failed(file, failures)


def _another_try(turn: _Turn, failure: AttemptError, patience: Patience) -> _Turn | None:
    """The next turn of the mirror of `turn`, or None. Wrong bytes are retried once at most."""
    _, place, attempt, base = turn
    if not failure.retry or attempt >= (min(2, patience.tries) if failure.wrong else patience.tries):
        return None
    backoff = patience.backoff_seconds * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311
    pause = max(backoff, min(failure.after, patience.retry_after_seconds))
    return time.monotonic() + pause, place, attempt + 1, base


def _all_failed(file: DataFile, failures: dict[Url, AttemptError]) -> DownloadError | DataError:
    first, failure = next(iter(failures.items()))
    if all(failure.wrong for failure in failures.values()):
        others = f" (and from {len(failures) - 1} other mirrors)" if len(failures) > 1 else ""
        where = first.shown + file.packed_name + others
        expected = f"{file.packed_size} with SHA-256 {file.packed_sha256}"
        return DataError(failure.reason, where, expected=expected, got=failure.wrong, remedy=_REMEDY)
    reasons = ", ".join(f"{base.shown} ({failure.reason})" for base, failure in failures.items())
    return DownloadError(f"no mirror delivered {file.packed_name}", reasons, remedy=_REMEDY)


def copy_from(file: DataFile, folder: Path, target: Path) -> str:
    """Copy `file`, packed, from a folder to `target` if its size and SHA-256 are right. No network.

    Returns
    -------
    The path that it was copied from.

    Raises
    ------
    UsageError : no such folder, or `target` cannot be a file.
    DownloadError : the folder does not hold the file.
    DataError : the file has the wrong size or hash.
    LocalIOError : the file cannot be read, or `target` cannot be written.
    """
    if not folder.is_dir():
        raise UsageError("no such folder", folder)
    source = folder / file.packed_name
    try:
        with open_regular(source, LocalIOError) as packed, atomic_write(target, follow=False) as out:
            arriving = _Arriving(file, out)
            for chunk in _chunks(packed, source, file.packed_bytes + 1):
                arriving.take(chunk)
            if wrong := arriving.fault():
                expected = f"{file.packed_size} with SHA-256 {file.packed_sha256}"
                raise DataError("wrong bytes", source, expected=expected, got=wrong)
    except FileNotFoundError as error:
        remedy = "the folder must hold the files as the mirrors serve and name them"
        raise DownloadError("no such file", source, remedy=remedy) from error
    except OSError as error:
        raise LocalIOError("cannot read", source, got=error.strerror or error) from error
    return str(source)


def _chunks(packed: BinaryIO, source: Path, most: int) -> Iterator[bytes]:
    """The first `most` bytes of a file, in pieces."""
    try:
        while most and (chunk := packed.read(min(_CHUNK, most))):
            most -= len(chunk)
            yield chunk
    except OSError as error:  # here: the caller would take it for one of the disk that it writes to
        raise LocalIOError("cannot read", source, got=error.strerror or error) from error


class _Arriving:
    """What has arrived of a file: written to `out`, counted and hashed."""

    def __init__(self, file: DataFile, out: BinaryIO) -> None:
        self.size, self.start = 0, b""
        self._file, self._out, self._digest = file, out, hashlib.sha256()

    def take(self, chunk: bytes) -> None:
        """Take the next piece; at most one byte more than the file may have arrives."""
        self.size += len(chunk)
        self.start += chunk[: max(0, 100 - len(self.start))]
        self._digest.update(chunk)
        self._out.write(chunk)

    def fault(self) -> str:
        """What has arrived instead of the file, or "" if it is the file."""
        if self.size > self._file.packed_bytes:
            return f"more than {self._file.packed_bytes} bytes"
        digest = self._digest.hexdigest()
        return "" if digest == self._file.packed_sha256 else f"{self.size} bytes with SHA-256 {digest}"


def _attempt(url: Url, file: DataFile, patience: Patience, progress: Progress, out: BinaryIO) -> None:
    """Write the verified bytes of `file` to `out`, or raise AttemptError."""
    arriving, most = _Arriving(file, out), file.packed_bytes

    def take(chunk: bytes) -> None:
        arriving.take(chunk)
        progress(file.packed_name, min(arriving.size, most), most if file.size_is_known else None)

    end_is_marked = receive(url, most, patience, take)
    wrong = arriving.fault()
    if not wrong:
        return
    if arriving.start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise AttemptError("a web page, not the file: it looks like a proxy or a login page", wrong=wrong)
    if arriving.size < most and not end_is_marked:
        # Closing the connection is a legal end, but cannot be told from a broken connection.
        reason = f"the body was cut short at {arriving.size} of {file.packed_size}"
        raise AttemptError(reason, retry=True)
    raise AttemptError("wrong bytes", retry=True, wrong=wrong)
