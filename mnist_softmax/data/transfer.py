"""One HTTP request with time limits.

A server can be slow in ways that no timeout of a library covers: the name look-up, or headers or a body that
arrive one byte now and then. So a daemon thread speaks HTTP and hands over what it receives, while the
caller's thread watches the clock and abandons a thread that takes too long.
"""

import errno
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, responses
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote_to_bytes, urljoin

from mnist_softmax.data.patience import Patience
from mnist_softmax.data.url import Url, parse
from mnist_softmax.errors import LocalIOError
from mnist_softmax.version import __version__

if TYPE_CHECKING:
    from requests import Response, Session

_CHUNK = 1 << 16
_TICK_SECONDS = 0.05
_MOST_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}
#: Statuses besides 5xx that are worth a retry: timeout, too early, too many requests.
_PASSING = {408, 425, 429}
#: No compression on the way: the hash is of the bytes as served.
_HEADERS = {"Accept-Encoding": "identity", "Accept": "*/*", "User-Agent": f"mnist-softmax/{__version__}"}
#: What the system lacks when it refuses any connection, to whatever mirror.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}
#: Errors of the libraries. Their messages are not passed on: some quote a URL, some what the server said.
_MEANINGS = {
    "BadStatusLine": "the answer is not HTTP",
    "IncompleteRead": "the body was cut short",
    "InvalidSchema": "a SOCKS proxy needs the package PySocks",
    "LocationParseError": "the host name is malformed",
    "OSError": "REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names no file",
    "RemoteDisconnected": "closed the connection without an answer",
    "gaierror": "the name does not resolve",
}
#: Pieces of a body that may wait to be written: the network may be faster than the disk.
_MOST_WAITING = 64
_Inbox: TypeAlias = "queue.Queue[bytes | bool | BaseException]"


@dataclass(eq=False)
class AttemptError(Exception):
    """One attempt at one mirror failed.

    `retry`: another try may help, not before `after` seconds. `unreachable`: the host does not exist or did
    not answer. `wrong`: describes a complete body with the wrong size or hash.
    """

    reason: str
    retry: bool = False
    after: float = 0
    unreachable: bool = False
    wrong: str = ""


def receive(url: Url, size: int, patience: Patience, on_chunk: Callable[[bytes], object]) -> bool:
    """Get `url` within the time limits.

    Parameters
    ----------
    size : expected bytes; at most one more is read, which shows that the body is too long.
    on_chunk : called with each piece of the body as served; no Content-Encoding is decoded.

    Returns
    -------
    Whether a length or chunks marked the end of the body.

    Raises
    ------
    AttemptError : no body with status 200 in time.
    LocalIOError : the system has no thread, file descriptor or memory for a connection.
    """
    import requests  # noqa: F401  (loaded here, so that its import does not count as the server's time)

    inbox: _Inbox = queue.Queue(_MOST_WAITING)
    stop = threading.Event()
    began = time.monotonic()
    arguments = (url, size + 1, patience, inbox, stop)
    thread = threading.Thread(target=_speak, args=arguments, name="mnist-softmax-http", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise LocalIOError("cannot start a thread", got=error) from error
    received, file_seconds = 0, patience.seconds_for(size)
    samples = deque([(began, 0)])  # (time, bytes by then); the first is the newest one outside the window
    try:
        while True:
            now = time.monotonic()
            if not received and now - began > patience.answer_seconds:
                reason = f"no answer within {patience.answer_seconds:g} s"
                raise AttemptError(reason, retry=True, unreachable=True)
            if now - began > file_seconds:
                raise AttemptError(f"not complete after {file_seconds:g} s", retry=True)
            while len(samples) > 1 and samples[1][0] <= now - patience.slow_seconds:
                samples.popleft()
            least = patience.slow_bytes_per_second * patience.slow_seconds
            if samples[0][0] <= now - patience.slow_seconds and received - samples[0][1] < least:
                raise AttemptError(f"stalled at {received} of {size} bytes", retry=True)
            try:
                item = inbox.get(timeout=_TICK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(item, bool):
                return item
            if isinstance(item, BaseException):
                raise item
            on_chunk(item)
            received += len(item)
            samples.append((time.monotonic(), received))
    finally:
        stop.set()


def _speak(url: Url, limit: int, patience: Patience, inbox: _Inbox, stop: threading.Event) -> None:
    """Run in the daemon thread: put chunks in `inbox`, then whether the end was marked, or the error."""
    import requests
    from urllib3.exceptions import HTTPError

    def put(item: bytes | bool | BaseException) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                inbox.put(item, timeout=_TICK_SECONDS)
                return

    try:
        with requests.Session() as session, closing(_follow(session, url, patience)) as response:
            if response.status_code != HTTPStatus.OK:
                raise _refusal(response.status_code, response.headers.get("Retry-After", ""))  # noqa: TRY301
            while limit and not stop.is_set():
                # raw: a .gz that is labelled "Content-Encoding: gzip" stays as it is.
                chunk = response.raw.read1(min(_CHUNK, limit), decode_content=False)
                if not chunk:
                    break
                limit -= len(chunk)
                put(chunk)
            length = response.headers.get("Content-Length", "")
            put(length.strip().isdigit() or bool(response.raw.chunked))
    except AttemptError as failure:
        put(failure)
    # ValueError: the standard library raises it on some malformed answers.
    except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
        put(_explained(error))
    except BaseException as bug:  # noqa: BLE001  (raised in the caller's thread, where it can be seen)
        put(bug)


def _follow(session: "Session", hop: Url, patience: Patience) -> "Response":
    """The first response that is not a redirect. requests itself would read a redirect's whole body."""
    import requests
    from requests.auth import HTTPBasicAuth
    from requests.utils import select_proxy

    # A little more than the caller's limits: an abandoned thread ends soon, but the caller decides first.
    timeout = (patience.answer_seconds + 1, max(patience.answer_seconds, patience.slow_seconds) + 1)
    for _ in range(_MOST_REDIRECTS + 1):
        user, password = map(unquote_to_bytes, hop.user.partition(":")[::2])
        auth = HTTPBasicAuth(user, password) if hop.user else None
        # Prepared without the session, which would look into .netrc.
        request = requests.Request("GET", hop.bare, headers=_HEADERS, auth=auth).prepare()
        settings = session.merge_environment_settings(hop.bare, {}, True, None, None)
        proxy = select_proxy(hop.bare, dict(settings["proxies"])) or ""
        verify, proxies = settings["verify"] or True, _proxies(hop, proxy.strip())
        response = session.get_adapter(hop.bare).send(
            request, stream=True, timeout=timeout, verify=verify, proxies=proxies
        )
        if response.status_code not in _REDIRECTS:
            return response
        location = response.headers.get("Location", "")
        response.close()
        hop = _next_hop(hop, location)
    raise AttemptError(f"more than {_MOST_REDIRECTS} redirects")


def _proxies(hop: Url, proxy: str) -> dict[str, str]:
    """The proxy for `hop`, if any, as requests takes it."""
    if not proxy:
        return {}
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    url = parse(proxy)
    if url is None or not re.fullmatch("https?|socks(4a?|5h?)", url.scheme):
        raise AttemptError(f"malformed proxy in {hop.scheme}_proxy or all_proxy, expected http://HOST:PORT")
    return {"all": proxy}


def _next_hop(hop: Url, location: str) -> Url:
    """Where a redirect leads. User and password are kept for the same scheme, host and port only."""
    try:
        following = parse(urljoin(hop.bare, location)) if location else None
    except ValueError:
        following = None
    if following is None or following.scheme not in ("http", "https"):
        raise AttemptError("a redirect to a malformed address")
    if (hop.scheme, following.scheme) == ("https", "http"):
        raise AttemptError("a redirect from https down to http")
    same_server = (hop.scheme, hop.host) == (following.scheme, following.host)
    return following._replace(user=hop.user) if same_server and not following.user else following


def _refusal(status: int, retry_after: str = "") -> AttemptError:
    """The error for a status other than 200. A Retry-After that is not in seconds is ignored."""
    reason = f"HTTP {status} {responses.get(status, '')}".rstrip()
    after = float(retry_after[:9]) if retry_after.isascii() and retry_after.isdigit() else 0.0
    return AttemptError(reason, status in _PASSING or status >= 500, after)


def _explained(error: Exception) -> AttemptError | LocalIOError:
    """A library's error in our words, or in the system's."""
    import socket
    import ssl

    causes: list[BaseException] = [error]
    while (inner := causes[-1].__cause__ or causes[-1].__context__) and inner not in causes:
        causes.append(inner)
    innermost, names = causes[-1], [type(cause).__name__ for cause in reversed(causes)]
    unresolved = isinstance(innermost, socket.gaierror)
    system = innermost if isinstance(innermost, OSError) and not unresolved else OSError()
    if unresolved:
        try:
            socket.socket().close()  # without a descriptor no name resolves either
        except OSError as refused:
            system = refused
    if system.errno in _EXHAUSTED:
        return LocalIOError("cannot open a connection", got=system.strerror)
    meaning = next((_MEANINGS[name] for name in names if name in _MEANINGS), "")
    failure = AttemptError(system.strerror or meaning or f"no usable answer ({names[0]})")
    # A retry does not help against an unknown name, a bad certificate or URL.
    lasting = isinstance(innermost, socket.gaierror | ssl.SSLCertVerificationError)
    failure.retry, failure.unreachable = not (lasting or isinstance(error, ValueError)), unresolved
    if tunnel := re.match(r"Tunnel connection failed: (\d{3})\b", str(innermost)):
        failure = _refusal(int(tunnel[1]))
    failure.reason = "proxy: " * ("ProxyError" in names) + failure.reason
    return failure
