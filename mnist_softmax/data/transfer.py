"""One HTTP request with time limits.

A server can be slow in ways that no timeout of a library covers: the name look-up, or headers or a body that
arrive one byte now and then. So a daemon thread speaks HTTP and hands over what it receives, while the
caller's thread watches the clock and abandons a thread that takes too long.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session

_CHUNK = 1 << 16
_TICK_SECONDS = 0.05
_MOST_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
#: Statuses besides 5xx that are worth a retry: timeout, too early, too many requests.
_PASSING = {408, 425, 429}
#: No compression on the way: the hash is of the bytes as served.
_HEADERS = {"Accept-Encoding": "identity", "Accept": "*/*"}


@dataclass(frozen=True)
class Patience:
    """Time limits and retries. Times in seconds.

    Attributes
    ----------
    answer_seconds : for name look-up, connection, redirects, headers and the first byte of the body together.
    slow_bytes_per_second, slow_seconds : a mirror that is slower than this for this long has stalled.
    file_seconds : for one file from one mirror, whatever its speed.
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


NORMAL = Patience()
#: Three silent mirrors cost nine seconds; one that answers has the usual time.
QUICK = Patience(answer_seconds=3.0, tries=1)


class AttemptError(Exception):
    """One attempt at one mirror failed.

    `retry`: another try may help, not before `after` seconds. `unreachable`: the host does not exist or did
    not answer. `wrong`: describes a complete body with the wrong size or hash.
    """

    def __init__(
        self,
        reason: str,
        *,
        retry: bool = False,
        after: float = 0,
        unreachable: bool = False,
        wrong: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason, self.retry, self.after = reason, retry, after
        self.unreachable, self.wrong = unreachable, wrong


def receive(
    url: str, size: int, patience: Patience, on_bytes: Callable[[int], None]
) -> tuple[bytearray, bool]:
    """Get `url` within the time limits.

    Parameters
    ----------
    size : expected bytes; at most one more is read, which shows that the body is too long.
    on_bytes : called with the bytes so far.

    Returns
    -------
    The body as served (no Content-Encoding is decoded), and whether a length or chunks marked its end.

    Raises
    ------
    AttemptError : no body with status 200 in time.
    """
    import requests  # noqa: F401  (loaded here, so that its import does not count as the server's time)

    inbox: queue.SimpleQueue[bytes | bool | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    began = time.monotonic()
    threading.Thread(
        target=_speak,
        args=(url, size + 1, patience, inbox, stop),
        name="mnist-softmax-http",
        daemon=True,
    ).start()
    body = bytearray()
    samples = deque([(began, 0)])  # (time, bytes by then); the first is the newest one outside the window
    try:
        while True:
            now = time.monotonic()
            if not body and now - began > patience.answer_seconds:
                reason = f"no answer within {patience.answer_seconds:g} s"
                raise AttemptError(reason, retry=True, unreachable=True)
            if now - began > patience.file_seconds:
                raise AttemptError(f"not complete after {patience.file_seconds:g} s", retry=True)
            while len(samples) > 1 and samples[1][0] <= now - patience.slow_seconds:
                samples.popleft()
            least = patience.slow_bytes_per_second * patience.slow_seconds
            if samples[0][0] <= now - patience.slow_seconds and len(body) - samples[0][1] < least:
                raise AttemptError(f"stalled at {len(body)} of {size} bytes", retry=True)
            try:
                item = inbox.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(item, bool):
                return body, item
            if isinstance(item, BaseException):
                raise item
            body += item
            samples.append((time.monotonic(), len(body)))
            on_bytes(len(body))
    finally:
        stop.set()


def _speak(
    url: str,
    limit: int,
    patience: Patience,
    inbox: "queue.SimpleQueue[bytes | bool | BaseException]",
    stop: threading.Event,
) -> None:
    """Run in the daemon thread: put chunks in `inbox`, then whether the end was marked, or the error."""
    import requests
    from urllib3.exceptions import HTTPError

    try:
        with requests.Session() as session, closing(_follow(session, url, patience)) as response:
            if response.status_code != HTTPStatus.OK:
                raise _refusal(response)  # noqa: TRY301
            while limit and not stop.is_set():
                # raw: a .gz that is labelled "Content-Encoding: gzip" stays as it is.
                chunk = response.raw.read1(min(_CHUNK, limit), decode_content=False)
                if not chunk:
                    break
                limit -= len(chunk)
                inbox.put(chunk)
            length = response.headers.get("Content-Length", "")
            inbox.put(length.strip().isdigit() or bool(response.raw.chunked))
    except AttemptError as failure:
        inbox.put(failure)
    # ValueError: the standard library raises it on some malformed answers.
    except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
        inbox.put(_explained(error))
    except BaseException as bug:  # noqa: BLE001  (raised in the caller's thread, where it can be seen)
        inbox.put(bug)


def _no_credentials(request: "PreparedRequest") -> "PreparedRequest":
    return request


def _follow(session: "Session", url: str, patience: Patience) -> "Response":
    """The first response that is not a redirect. requests itself would read a redirect's whole body."""
    import requests
    from requests.utils import get_auth_from_url

    # A little more than the caller's limits: an abandoned thread ends soon, but the caller decides first.
    timeout = (patience.answer_seconds + 1, max(patience.answer_seconds, patience.slow_seconds) + 1)
    for _ in range(_MOST_REDIRECTS + 1):
        credentials = get_auth_from_url(url)
        # Any `auth` keeps requests from looking into .netrc.
        auth = credentials if any(credentials) else _no_credentials
        request = session.prepare_request(requests.Request("GET", url, headers=_HEADERS, auth=auth))
        address = request.url or url
        settings = session.merge_environment_settings(address, {}, True, None, None)
        response = session.get_adapter(address).send(
            request,
            stream=True,
            timeout=timeout,
            verify=settings["verify"] or True,
            proxies=settings["proxies"],
        )
        if response.status_code not in _REDIRECTS:
            return response
        location = response.headers.get("Location", "")
        response.close()
        url = _next_hop(url, location)
    raise AttemptError(f"more than {_MOST_REDIRECTS} redirects")


def _next_hop(url: str, location: str) -> str:
    try:
        following = urljoin(url, location)
        parts = urlsplit(following)
        good = location and parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise AttemptError(f"a redirect to a malformed address ({location[:80]!r})")
    if urlsplit(url).scheme == "https" and parts.scheme == "http":
        raise AttemptError("a redirect from https down to http")
    return following


def _refusal(response: "Response") -> AttemptError:
    """The error for a status other than 200."""
    status = response.status_code
    try:
        reason = f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        reason = f"HTTP {status}"
    after = _seconds_until(response.headers.get("Retry-After", ""))
    return AttemptError(reason, retry=status in _PASSING or status >= 500, after=after)


def _seconds_until(retry_after: str) -> float:
    """Retry-After, in seconds or as an HTTP date, as seconds from now; 0 if missing or malformed."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, OSError):
        return 0.0


def _explained(error: BaseException) -> AttemptError:
    """A library's error, with the message of its innermost cause."""
    import socket
    import ssl

    import requests
    import urllib3.exceptions

    causes = [error]
    while (inner := causes[-1].__cause__ or causes[-1].__context__) and inner not in causes:
        causes.append(inner)
    prefix = "proxy: " if isinstance(error, requests.exceptions.ProxyError) else ""
    if any(isinstance(cause, (socket.gaierror, urllib3.exceptions.NameResolutionError)) for cause in causes):
        return AttemptError(prefix + "the name does not resolve", unreachable=True)
    if any(
        type(cause).__name__ == "IncompleteRead" for cause in causes
    ):  # http.client and urllib3 have one each
        return AttemptError(prefix + "the body was cut short", retry=True)
    innermost = causes[-1]
    text = (innermost.strerror if isinstance(innermost, OSError) else "") or str(innermost)
    # A retry does not help against a bad certificate, URL or proxy address.
    lasting = isinstance(innermost, ssl.SSLCertVerificationError) or isinstance(error, ValueError)
    return AttemptError(prefix + (text[:120] or type(innermost).__name__), retry=not lasting)
