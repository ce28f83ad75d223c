"""One verified file from a list of mirrors, against a server that misbehaves in many ways."""

import base64
import gzip
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import clean_environment
from servers import Answer, Server, drip_after, page, raw, redirect, reset_after, small_dataset, stall_after

from mnist_softmax.data.catalog import mirror_bases
from mnist_softmax.data.download import Experience, copy_from, fetch
from mnist_softmax.data.patience import QUICK, Patience
from mnist_softmax.errors import DataError, DownloadError, LocalIOError, UsageError

DATASET, CONTENTS = small_dataset()
FILE = DATASET.files[0]
GOOD = CONTENTS[FILE.packed_name]
PATH = "/" + FILE.packed_name
HALF = len(GOOD) // 2
WRONG = bytes([GOOD[0] ^ 1]) + GOOD[1:]
HEAD = f"HTTP/1.1 200 OK\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode()
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"
#: The rules of the real thing, in no hurry: nothing but the pauses between tries is short.
PATIENT = Patience(
    answer_seconds=30,
    slow_seconds=30,
    file_seconds=60,
    backoff_seconds=0.001,
    retry_after_seconds=0.01,
    budget_seconds=300,
)
#: For mirrors that make one wait. What must arrive in time takes milliseconds.
BRIEF = replace(PATIENT, answer_seconds=0.6, slow_seconds=0.6, slow_bytes_per_second=500, tries=2)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", headers: bytes = b"") -> bytes:
    body = b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + headers + b"\r\n" + body + end


#: What a mirror does, how often it is asked at most, and what the message says.
BROKEN: dict[str, tuple[Answer, int, str]] = {
    "a body cut short": (page(GOOD[:HALF], length=len(GOOD)), 3, "cut short"),
    "a body cut short without Content-Length": (page(GOOD[:HALF], length=None), 3, "cut short"),
    "chunks cut short": (raw(chunked(GOOD[:HALF], end=b"")), 3, "cut short"),
    "a chunk cut short": (raw(chunked(end=b"ffff\r\n" + GOOD[:HALF])), 3, "cut short"),
    "a chunk size that is none": (raw(chunked(GOOD[:HALF], end=b"xyz\r\n")), 3, ""),
    "an empty body of unknown length": (page(b"", length=None), 3, "cut short at 0"),
    "a connection closed before the status": (raw(b""), 3, "closed the connection"),
    "half a status line": (raw(b"HTTP/1."), 3, ""),
    "a status that is no number": (raw(b"HTTP/1.1 abc OK\r\n\r\n"), 3, ""),
    "an unknown status": (page(GOOD, "799 Odd"), 3, "HTTP 799"),
    "something that is not HTTP": (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), 3, ""),
    "a Content-Length that is no number": (
        page(GOOD[:HALF], length=None, headers=["Content-Length: x"]),
        3,
        "",
    ),
    "two Content-Lengths": (page(GOOD, headers=["Content-Length: 7"]), 1, ""),
    "endless headers": (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), 3, ""),
    "a header line without end": (raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000), 3, ""),
    "404": (page(b"", "404 Not Found"), 1, "HTTP 404 Not Found"),
    "403": (page(HTML, "403 Forbidden"), 1, "HTTP 403 Forbidden"),
    "410": (page(b"", "410 Gone"), 1, "HTTP 410"),
    "407": (page(b"", "407 Proxy Authentication Required"), 1, "HTTP 407"),
    "429": (page(b"", "429 Too Many", headers=["Retry-After: 3600"]), 3, "HTTP 429 Too Many Requests"),
    "429 until a date": (
        page(b"", "429 Slow", headers=["Retry-After: " + formatdate(time.time() + 7200, usegmt=True)]),
        3,
        "HTTP 429",
    ),
    "503 with a Retry-After that is none": (
        page(b"", "503 No", headers=["Retry-After: soon"]),
        3,
        "HTTP 503",
    ),
    "500": (page(b"", "500 Oops"), 3, "HTTP 500"),
    "206": (page(GOOD, "206 Partial Content"), 1, "HTTP 206"),
    "204": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), 1, "HTTP 204"),
    "304": (raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), 1, "HTTP 304"),
    "a reset at once": (reset_after(b""), 3, "reset"),
    "a reset in the headers": (reset_after(HEAD[:20]), 3, ""),
    "a reset in the body": (reset_after(HEAD + GOOD[:HALF]), 3, ""),
    "silence": (stall_after(b""), 3, "no answer within"),
    "silence in the headers": (stall_after(HEAD[:20]), 3, "no answer within"),
    "silence before the body": (stall_after(HEAD), 3, "no answer within"),
    "silence in the body": (stall_after(HEAD + GOOD[:HALF]), 3, f"stalled at {HALF} of {len(GOOD)} bytes"),
    "dripping headers": (drip_after(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.02), 3, "no answer within"),
    "a dripping body": (drip_after(HEAD, GOOD, 0.02), 3, "stalled at"),
    "a dripping redirect": (drip_after(b"HTTP/1.1 302 Found\r\nLoc", b"ation", 0.02), 3, "no answer"),
    "a redirect in a circle": (redirect(PATH), 6, "more than 5 redirects"),
    "a redirect to a malformed address": (redirect("http://[::1/"), 1, "malformed address"),
    "a redirect to an impossible port": (redirect("http://127.0.0.1:99999/"), 1, "malformed address"),
    "a redirect to nowhere": (page(b"", "302 Found"), 1, "malformed address"),
    "a redirect to a file": (redirect("file:///etc/passwd"), 1, "malformed address"),
    "a redirect to a port where nobody listens": (redirect("http://127.0.0.1:1/x"), 3, "refused"),
}
#: Complete bodies that are wrong: asked for twice at most, and exit code 4 if every mirror does this.
LIES: dict[str, tuple[Answer, int, str]] = {
    "wrong bytes of the right length": (page(WRONG), 2, "wrong bytes"),
    "fewer bytes, complete": (page(GOOD[:HALF]), 2, "wrong bytes"),
    "nothing, complete": (page(b""), 2, "got 0 bytes"),
    "one byte too many": (page(GOOD + b"x"), 2, f"got more than {len(GOOD)} bytes"),
    "bytes without end": (
        drip_after(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD + b"x" * 99999, b"x", 1),
        2,
        "more than",
    ),
    "a login page": (page(HTML), 1, "looks like a proxy or a login page"),
    "a login page without Content-Length": (page(HTML, length=None), 1, "login page"),
    "the file packed once more": (
        page(gzip.compress(GOOD, mtime=0), headers=["Content-Encoding: gzip"]),
        2,
        "more than",
    ),
    "the file unpacked": (page(gzip.decompress(GOOD)), 2, ""),
    "wrong chunks": (raw(chunked(WRONG)), 2, "wrong bytes"),
}


#: Those of which only the clock can tell that nothing will come.
WAITING = [fault for fault in BROKEN if fault.startswith(("silence", "drip", "a drip"))]
PROMPT = [fault for fault in BROKEN if fault not in WAITING]


@pytest.fixture(autouse=True)
def _no_disk_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails in these tests; tests/test_files.py sees that everything is synced."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(autouse=True)
def _no_thread_is_left_over() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 30
    while any(thread.name == "mnist-softmax-http" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "an abandoned thread does not end"
        time.sleep(0.005)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def meets_a_broken_mirror(fault: str, folder: Path, patience: Patience) -> None:
    """Fetch from it alone: one line that says why, as many requests as there should be, and no file."""
    answer, most_requests, words = BROKEN[fault]
    with Server({PATH: answer}) as server, pytest.raises(DownloadError) as caught:
        fetch(FILE, [server.url], folder / "f.gz", patience=patience)
    message = str(caught.value)
    assert words in message, fault
    assert server.url in message
    assert "--mirror" in message
    assert "\n" not in message
    assert len(server.requests) == (most_requests if fault in PROMPT else patience.tries), fault
    assert listing(folder) == []


def passes_over_a_bad_mirror(fault: str, folder: Path, patience: Patience) -> None:
    """Fetch from a good mirror between two bad ones: it wins, and a line says why the first did not."""
    answer, *_ = (BROKEN | LIES)[fault]
    notices: list[str] = []
    with Server({PATH: answer}) as bad, Server({PATH: page(GOOD)}) as good:
        mirrors = [bad.url, good.url, bad.url]
        source = fetch(FILE, mirrors, folder / "f.gz", patience=patience, notify=notices.append)
    assert source == good.url + FILE.packed_name, fault
    assert (folder / "f.gz").read_bytes() == GOOD
    assert listing(folder) == ["f.gz"]
    assert len(notices) == 1, fault
    assert notices[0].startswith(f"mirror {bad.url} failed: ")
    assert notices[0].endswith("; trying the next")


def all_at_once(*calls: Callable[[], object]) -> None:
    """Calls that mostly wait, side by side; raises what the first of them raised."""
    with ThreadPoolExecutor(len(calls)) as pool:
        for call in [pool.submit(call) for call in calls]:
            call.result()


@pytest.mark.parametrize("fault", PROMPT)
def test_a_broken_mirror_ends_in_one_line_and_leaves_nothing(fault: str, tmp_path: Path) -> None:
    meets_a_broken_mirror(fault, tmp_path, PATIENT)


@pytest.mark.parametrize("fault", [*PROMPT, *LIES])
def test_one_good_mirror_among_bad_ones_wins(fault: str, tmp_path: Path) -> None:
    passes_over_a_bad_mirror(fault, tmp_path, PATIENT)


def test_mirrors_that_make_one_wait_are_given_up_and_good_ones_win(tmp_path: Path) -> None:
    calls = []
    for meeting, patience in (
        (meets_a_broken_mirror, BRIEF),
        (passes_over_a_bad_mirror, replace(BRIEF, answer_seconds=1.2, slow_seconds=1.2)),
    ):
        for fault in WAITING:
            folder = tmp_path / f"{meeting.__name__} {fault}"
            folder.mkdir()
            calls.append(partial(meeting, fault, folder, patience))
    all_at_once(*calls)


@pytest.mark.parametrize("fault", LIES)
def test_a_complete_body_that_is_wrong_is_wrong_data(fault: str, tmp_path: Path) -> None:
    answer, requests, words = LIES[fault]
    with Server({PATH: answer}) as server, pytest.raises(DataError) as caught:
        fetch(FILE, [server.url], tmp_path / "f.gz", patience=PATIENT)
    message = str(caught.value)
    assert words in message
    assert server.url + FILE.packed_name in message
    assert FILE.packed_sha256 in message
    assert len(server.requests) == requests
    assert listing(tmp_path) == []


def test_wrong_bytes_are_named_by_both_hashes(tmp_path: Path) -> None:
    with Server({PATH: page(WRONG)}) as server, pytest.raises(DataError) as caught:
        fetch(FILE, [server.url], tmp_path / "f.gz", patience=PATIENT)
    assert FILE.packed_sha256 in str(caught.value)
    assert hashlib.sha256(WRONG).hexdigest() in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        page(GOOD),
        page(GOOD, length=None),
        page(GOOD, headers=["Content-Encoding: gzip"]),
        page(GOOD, headers=["Content-Encoding: br"]),
        raw(chunked(GOOD[:HALF], GOOD[HALF:])),
        raw(chunked(GOOD, headers=b"Content-Encoding: gzip\r\n")),
    ],
    ids=["plain", "until the end", "labelled gzip", "labelled br", "chunked", "chunked, labelled gzip"],
)
def test_the_bytes_as_served_are_what_counts(answer: Answer, tmp_path: Path) -> None:
    with Server({PATH: answer}) as server:
        fetch(FILE, [server.url], tmp_path / "f.gz", patience=PATIENT)
    assert (tmp_path / "f.gz").read_bytes() == GOOD
    assert b"accept-encoding: identity\r\n" in server.heads[0].lower()


@pytest.mark.parametrize("status", ["500 Oops", "503 Busy", "429 Wait", "408 Timeout"])
def test_a_passing_failure_is_tried_again(status: str, tmp_path: Path) -> None:
    notices: list[str] = []
    with Server({PATH: [page(b"", status), page(b"", status), page(GOOD)]}) as server:
        fetch(FILE, [server.url], tmp_path / "f.gz", patience=PATIENT, notify=notices.append)
    assert len(server.requests) == 3
    assert [notice.rpartition("; ")[2] for notice in notices] == ["trying it again"] * 2


def test_a_body_cut_short_is_retried_once_the_next_mirror_has_failed_too(tmp_path: Path) -> None:
    with Server({PATH: [page(GOOD[:9], length=None), page(GOOD)]}) as first, Server() as second:
        source = fetch(FILE, [first.url, second.url], tmp_path / "f.gz", patience=PATIENT)
    assert source.startswith(first.url)
    assert (len(first.requests), len(second.requests)) == (2, 1)


def test_retry_after_is_waited_for_up_to_its_cap(tmp_path: Path) -> None:
    patience = replace(PATIENT, retry_after_seconds=0.1)
    busy = page(b"", "429 Wait", headers=["Retry-After: 86400"])
    began = time.monotonic()
    with Server({PATH: [busy, page(GOOD)]}) as server:
        fetch(FILE, [server.url], tmp_path / "f.gz", patience=patience)
    assert time.monotonic() - began >= 0.1


def test_retries_end_where_the_budget_ends_but_every_mirror_is_asked_once(tmp_path: Path) -> None:
    patience = replace(PATIENT, budget_seconds=0.0)
    with Server({PATH: page(b"", "500 Oops")}) as one, Server({PATH: page(b"", "500 Oops")}) as two:
        with pytest.raises(DownloadError):
            fetch(FILE, [one.url, two.url], tmp_path / "f.gz", patience=patience)
        assert (len(one.requests), len(two.requests)) == (1, 1)


def test_the_normal_patience_cannot_lose_more_than_a_minute() -> None:
    normal = Patience()
    worst = max(normal.answer_seconds, normal.slow_seconds)
    assert normal.budget_seconds + 5 <= 60  # retries
    assert worst <= normal.budget_seconds  # the first tries share it; see the next test
    assert (normal.tries, normal.retry_after_seconds, normal.file_seconds) == (3, 30, 600)
    assert (normal.slow_bytes_per_second, normal.slow_seconds) == (10_000, 20)
    assert normal.seconds_for(10_000_000) == normal.file_seconds
    assert 3_600 < normal.seconds_for(561_753_746) < 7_200, "for EMNIST's zip, at 83 kB/s"
    assert QUICK.tries == 1
    assert 3 * QUICK.answer_seconds <= 10


def test_any_number_of_mirrors_that_do_nothing_share_the_budget(tmp_path: Path) -> None:
    patience = replace(PATIENT, answer_seconds=2, slow_seconds=2, budget_seconds=0.8)
    heads = {"silent": b"", "stalling": HEAD + GOOD[:HALF]}

    def all_of_them(name: str) -> None:
        with Server({f"/{n}{PATH}": stall_after(heads[name]) for n in range(8)}) as server:
            mirrors = [f"{server.url}{n}/" for n in range(8)]
            began = time.monotonic()
            with pytest.raises(DownloadError) as caught:
                fetch(FILE, mirrors, tmp_path / name, patience=patience)
            assert time.monotonic() - began < 10  # eight times the full window are 16
            # A busy machine may give a mirror up before its request has left.
            assert all(f"{mirror} (" in str(caught.value) for mirror in mirrors)

    def all_but_the_last(name: str) -> None:
        answers: dict[str, Answer | list[Answer]] = {
            f"/{n}{PATH}": stall_after(heads[name]) for n in range(3)
        }
        with Server(answers | {f"/3{PATH}": page(GOOD)}) as server:
            mirrors = [f"{server.url}{n}" for n in range(4)]
            source = fetch(FILE, mirrors, tmp_path / name, patience=replace(patience, budget_seconds=1.6))
            assert source.startswith(mirrors[3])

    all_at_once(*(partial(call, name) for call in (all_of_them, all_but_the_last) for name in heads))


def test_a_slow_mirror_above_the_limit_may_take_its_time(tmp_path: Path) -> None:
    def slowly(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(HEAD)
        for start in range(0, len(GOOD), 30):
            connection.sendall(GOOD[start : start + 30])
            stop.wait(0.025)

    patience = replace(PATIENT, answer_seconds=0.4, slow_seconds=0.4, slow_bytes_per_second=10, tries=1)
    seen: list[tuple[str, int, int]] = []
    began = time.monotonic()
    with Server({PATH: slowly}) as server:
        fetch(FILE, [server.url], tmp_path / "f.gz", patience=patience, progress=lambda *at: seen.append(at))
    assert time.monotonic() - began > patience.slow_seconds + patience.answer_seconds
    assert seen[-1] == (FILE.packed_name, len(GOOD), len(GOOD))
    assert [count for _, count, _ in seen] == sorted(count for _, count, _ in seen)


def test_a_file_that_takes_longer_than_its_limit_is_given_up(tmp_path: Path) -> None:
    patience = replace(PATIENT, slow_bytes_per_second=0, file_seconds=0.2, tries=1)
    with (
        Server({PATH: drip_after(HEAD, GOOD, 0.02)}) as server,
        pytest.raises(DownloadError, match=r"not complete after 0\.2 s"),
    ):
        fetch(FILE, [server.url], tmp_path / "f.gz", patience=patience)


def test_redirects_are_followed_up_to_five(tmp_path: Path) -> None:
    answers: dict[str, Answer | list[Answer]] = {f"/{n}": redirect(f"/{n + 1}", 307) for n in range(1, 5)}
    with Server(answers | {PATH: redirect("1"), "/5": page(GOOD)}) as server:
        fetch(FILE, [server.url], tmp_path / "f.gz", patience=PATIENT)
    assert len(server.requests) == 6


def test_a_redirect_from_https_down_to_http_is_refused() -> None:
    from mnist_softmax.data.transfer import AttemptError, _next_hop
    from mnist_softmax.data.url import parse

    safe, plain = parse("https://a.example/x"), parse("http://a.example/x")
    assert safe
    assert plain
    with pytest.raises(AttemptError, match="down to http"):
        _next_hop(safe, "http://a.example/x")
    assert _next_hop(safe, "/y") == parse("https://a.example/y")
    assert _next_hop(plain, "https://b.example/y") == parse("https://b.example/y")


def test_a_port_where_nobody_listens_is_an_error_of_that_mirror(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="Connection refused"):
        fetch(FILE, ["http://127.0.0.1:1/"], tmp_path / "f.gz", patience=PATIENT)


def test_a_server_that_does_not_speak_tls_is_an_error_of_that_mirror(tmp_path: Path) -> None:
    with Server({PATH: page(GOOD)}) as server, pytest.raises(DownloadError):
        fetch(FILE, ["https" + server.url[4:]], tmp_path / "f.gz", patience=replace(PATIENT, tries=1))


def test_a_name_that_does_not_resolve_is_asked_for_once_in_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolver(host: str, *args: object, **kwargs: object) -> object:
        if host == "127.0.0.1":
            return real(host, *args, **kwargs)  # type: ignore[arg-type]
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    experience = Experience()
    with Server({PATH: page(GOOD)}) as server:
        for _ in range(2):
            mirrors = ["http://nowhere.invalid/", server.url]
            fetch(FILE, mirrors, tmp_path / "f.gz", patience=PATIENT, experience=experience)
    assert asked == ["nowhere.invalid"]
    with pytest.raises(DownloadError, match=r"nowhere\.invalid/ \(the name does not resolve\)"):
        fetch(FILE, ["http://nowhere.invalid/"], tmp_path / "f.gz", patience=PATIENT, experience=experience)
    assert asked == ["nowhere.invalid"]


def test_a_resolver_that_never_answers_is_given_up_and_the_next_mirror_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    real = socket.getaddrinfo

    def resolver(host: str, *args: object, **kwargs: object) -> object:
        if host == "127.0.0.1":
            return real(host, *args, **kwargs)  # type: ignore[arg-type]
        release.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    notices: list[str] = []
    try:
        with Server({PATH: page(GOOD)}) as server:
            mirrors = ["http://a.invalid/", server.url]
            patience = replace(BRIEF, tries=1)
            fetch(FILE, mirrors, tmp_path / "f.gz", patience=patience, notify=notices.append)
    finally:
        release.set()
    assert notices == ["mirror http://a.invalid/ failed: no answer within 0.6 s; trying the next"]


def test_an_abandoned_thread_neither_delays_nor_disturbs_the_end_of_the_program(tmp_path: Path) -> None:
    program = """
import socket, sys, threading
from pathlib import Path
from mnist_softmax.data.catalog import DataFile
from mnist_softmax.data.download import fetch
from mnist_softmax.data.patience import Patience
from mnist_softmax.errors import DownloadError
socket.getaddrinfo = lambda *a, **k: threading.Event().wait()
try:
    fetch(DataFile("x", 1, "0" * 64, (1,)), ["http://a.invalid/"], Path(sys.argv[1]) / "x",
          patience=Patience(answer_seconds=0.2, tries=1))
except DownloadError as error:
    print(error)
"""
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", program, str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "no answer within 0.2 s" in run.stdout
    assert run.stderr == ""


def test_the_mirror_that_delivered_is_asked_first_for_the_next_file(tmp_path: Path) -> None:
    experience = Experience()
    with Server({PATH: page(b"", "500 Oops")}) as bad, Server({PATH: page(GOOD)}) as good:
        for _ in range(3):
            fetch(FILE, [bad.url, good.url], tmp_path / "f.gz", patience=PATIENT, experience=experience)
    assert (len(bad.requests), len(good.requests)) == (1, 3)


@pytest.mark.parametrize(
    "url", ["file:///tmp/", "ftp://host/", "host/mnist", "", "http://", "http://[::1/", "https://host/?a=b"]
)
def test_a_mirror_that_is_no_http_url_is_wrong_usage(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a mirror"):
        fetch(FILE, ["http://127.0.0.1:1/", url], tmp_path / "f.gz", patience=PATIENT)


def test_a_mirror_without_its_last_slash_works(tmp_path: Path) -> None:
    with Server({"/mnist" + PATH: page(GOOD)}) as server:
        assert fetch(FILE, [server.url + "mnist"], tmp_path / "f.gz") == server.url + "mnist" + PATH
    assert [base.shown for base in mirror_bases(["http://host/a/", "http://host/a"])] == ["http://host/a/"]


def test_credentials_come_from_the_url_and_never_from_netrc_and_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login secret password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with Server({PATH: page(GOOD)}) as server:
        fetch(FILE, [server.url], tmp_path / "f.gz", patience=PATIENT)
        assert b"authorization" not in server.heads[0].lower()
        url = server.url.replace("//", "//user:hidden@")
        source = fetch(FILE, [url], tmp_path / "f.gz", patience=PATIENT)
        assert base64.b64encode(b"user:hidden") in server.heads[1]
        assert source == server.url + FILE.packed_name
        server.answers[PATH] = page(WRONG)
        with pytest.raises(DataError) as caught:
            fetch(FILE, [url], tmp_path / "f.gz", patience=PATIENT)
    assert "hidden" not in str(caught.value)


def test_a_proxy_from_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server({"http://mirror.invalid" + PATH: page(GOOD)}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        fetch(FILE, ["http://mirror.invalid/"], tmp_path / "f.gz", patience=PATIENT)
    assert (tmp_path / "f.gz").read_bytes() == GOOD


def test_credentials_may_hold_any_character_percent_encoded(tmp_path: Path) -> None:
    with Server({PATH: page(GOOD)}) as server:
        for encoded in ("us%40r:p%2Fw%3A%E2%82%AC%00", "us%40r:p%2Fw:€%00"):
            fetch(FILE, [server.url.replace("//", f"//{encoded}@")], tmp_path / "f.gz", patience=PATIENT)
    expected = base64.b64encode("us@r:p/w:€\0".encode())
    assert all(b"authorization: basic " + expected.lower() + b"\r\n" in head.lower() for head in server.heads)


def test_credentials_follow_a_redirect_to_the_same_server_only(tmp_path: Path) -> None:
    with Server({"/there": page(GOOD)}) as other, Server() as server:
        server.answers |= {PATH: redirect(server.url + "here"), "/here": redirect(other.url + "there")}
        url = server.url.replace("//", "//user:hidden@")
        source = fetch(FILE, [url], tmp_path / "f.gz", patience=PATIENT)
    assert source == server.url + FILE.packed_name
    assert [base64.b64encode(b"user:hidden") in head for head in server.heads + other.heads] == [1, 1, 0]
    assert not any(b"referer" in head.lower() or b"hidden" in head for head in server.heads + other.heads)


@pytest.mark.parametrize(
    "answer",
    [
        redirect("http://user:hidden@[::1/"),
        redirect("http://user:hidden@host:99999/"),
        redirect("http://user:hidden/@host/"),
        redirect("http://hidden..host/"),
        redirect("hidden://user@host/"),
        page(b"", "302 hidden", headers=["Location: http://user:hidden@ho\tst/"]),
        raw(b"hidden\r\n\r\n"),
        raw(b"HTTP/1.1 hidden OK\r\n\r\n"),
        raw(chunked(GOOD[:HALF], end=b"hidden\r\n")),
        page(b"", "500 hidden"),
        page(GOOD[:HALF], length=None, headers=["Content-Length: hidden"]),
        redirect("http://user:hidden@127.0.0.1:1/"),
    ],
)
def test_nothing_that_a_server_says_is_passed_on(answer: Answer, tmp_path: Path) -> None:
    notices: list[str] = []
    with Server({PATH: answer}) as server, pytest.raises(DownloadError) as caught:
        fetch(FILE, [server.url], tmp_path / "f.gz", patience=PATIENT, notify=notices.append)
    assert "hidden" not in str(caught.value) + "".join(notices)
    assert server.url in str(caught.value)


@pytest.mark.parametrize(
    "proxy",
    [
        "http://user:hidden@",
        "user:hidden@",
        "user:hidden",
        "http://user:hidden@bad host:x/",
        "http://user:hidden@host:99999",
        "http://user:hidden/@127.0.0.1:1/",
        "http://user:p@hidden/x@127.0.0.1:1/",
        "http://[hidden::1",
        "://user:hidden@host",
        "hidden://127.0.0.1:1/",
        "ftp://user:hidden@127.0.0.1:1/",
    ],
)
@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "all_proxy"])
def test_a_malformed_proxy_is_a_failure_that_names_the_variable_and_not_the_password(
    variable: str, proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = "https" if variable == "https_proxy" else "http"
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(DownloadError) as caught:
        fetch(FILE, [f"{scheme}://127.0.0.2:1/"], tmp_path / "f.gz", patience=PATIENT)
    assert f"(malformed proxy in {scheme}_proxy or all_proxy, expected http://HOST:PORT)" in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("127.0.0.1:1", "proxy: Connection refused"),
        ("  http://user:hidden@127.0.0.1:1/ ", "proxy: Connection refused"),
        ("http://user:hidden@[::1]:1/", "proxy: "),
        ("http://hidden\u20ac:x@127.0.0.1:1/", ""),
        ("socks5://user:hidden@127.0.0.1:1/", "PySocks" if find_spec("socks") is None else ""),
    ],
)
def test_a_proxy_that_cannot_be_used_is_a_failure_of_the_mirror(
    proxy: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", proxy)
    for scheme in ("http", "https"):
        with pytest.raises(DownloadError) as caught:
            fetch(FILE, [f"{scheme}://127.0.0.2:1/"], tmp_path / "f.gz", patience=PATIENT)
        assert words in str(caught.value)
        assert "hidden" not in str(caught.value)


def test_a_proxy_gets_its_credentials_and_one_that_refuses_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = page(b"", "407 hidden")
    with Server({"mirror.invalid:443": refusal, "http://mirror.invalid" + PATH: refusal}) as proxy:
        monkeypatch.setenv("all_proxy", proxy.url.replace("//", "//us%40r:hid%2Fden@"))
        for scheme, words in (("http", "(HTTP 407 Proxy A"), ("https", "(proxy: HTTP 407 Proxy A")):
            with pytest.raises(DownloadError) as caught:
                fetch(FILE, [f"{scheme}://mirror.invalid/"], tmp_path / "f.gz", patience=PATIENT)
            assert words in str(caught.value)
            assert "hidden" not in str(caught.value)
    assert [base64.b64encode(b"us@r:hid/den") in head for head in proxy.heads] == [True, True]


@pytest.mark.parametrize("rubbish", ["[::1", "10.0.0.0/abc", "/", "*.,,;", "127.0.0.0/99", "\x01", "::1/64"])
def test_rubbish_in_no_proxy_does_no_harm(
    rubbish: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", rubbish)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(DownloadError, match="Connection refused"):
        fetch(FILE, ["http://127.0.0.2:1/"], tmp_path / "f.gz", patience=replace(PATIENT, tries=1))


def test_certificates_that_are_missing_are_named_by_their_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing"))
    with pytest.raises(DownloadError, match="REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names no file"):
        fetch(FILE, ["https://127.0.0.1:1/"], tmp_path / "f.gz", patience=replace(PATIENT, tries=1))


#: Run the program with descriptors for only a few more files. What it imports is loaded before.
FEW_DESCRIPTORS = """
import os, resource, sys
import encodings.idna, filelock, platformdirs, requests
from mnist_softmax.cli import download, main, options, output
from mnist_softmax.data import cache, open
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
for _ in range(int(sys.argv.pop(1))):
    os.close(held.pop())
main.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on descriptors")
@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://nowhere.invalid/", "https://127.0.0.1:1/"])
@pytest.mark.parametrize("free", [0, 1])
def test_without_a_descriptor_the_trouble_is_local(free: int, url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FEW_DESCRIPTORS, str(free), "download", "--mirror", url],
        env=clean_environment(MNIST_SOFTMAX_CACHE_DIR=tmp_path),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert "Too many open files" in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_thread_the_trouble_is_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(LocalIOError, match="cannot start a thread: got can't start new thread"):
        fetch(FILE, ["http://127.0.0.1:1/"], tmp_path / "f.gz", patience=PATIENT)


def test_a_lack_of_memory_reaches_the_caller_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolver(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with pytest.raises(MemoryError):
        fetch(FILE, ["http://127.0.0.1:1/"], tmp_path / "f.gz", patience=PATIENT)


def test_a_target_that_cannot_be_a_file_is_noticed_before_a_byte_is_asked_for(tmp_path: Path) -> None:
    with Server({PATH: page(GOOD)}) as server, pytest.raises(UsageError):
        fetch(FILE, [server.url], tmp_path / "missing" / "f.gz", patience=PATIENT)
    assert server.requests == []


def test_a_file_in_place_is_kept_when_the_new_one_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "f.gz").write_bytes(b"old")
    with Server({PATH: page(WRONG)}) as server, pytest.raises(DataError):
        fetch(FILE, [server.url], tmp_path / "f.gz", patience=PATIENT)
    assert (tmp_path / "f.gz").read_bytes() == b"old"
    assert listing(tmp_path) == ["f.gz"]


def test_a_file_is_copied_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / FILE.packed_name).write_bytes(GOOD)
    assert copy_from(FILE, tmp_path, tmp_path / "copy") == str(tmp_path / FILE.packed_name)
    assert (tmp_path / "copy").read_bytes() == GOOD


@pytest.mark.parametrize("content", [WRONG, GOOD + b"x", GOOD[:-1], b""])
def test_a_wrong_file_in_the_folder_is_wrong_data(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE.packed_name).write_bytes(content)
    with pytest.raises(DataError, match=FILE.packed_sha256):
        copy_from(FILE, tmp_path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_folder_that_is_missing_or_does_not_hold_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        copy_from(FILE, tmp_path / "missing", tmp_path / "copy")
    with pytest.raises(DownloadError, match=FILE.packed_name):
        copy_from(FILE, tmp_path, tmp_path / "copy")
    (tmp_path / FILE.packed_name).mkdir()
    with pytest.raises(LocalIOError, match="not a regular file"):
        copy_from(FILE, tmp_path, tmp_path / "copy")


def test_importing_the_modules_loads_nothing_heavy() -> None:
    program = (
        "import sys, mnist_softmax.data.download, mnist_softmax.data.cache\n"
        "heavy = {'numpy', 'requests', 'urllib3', 'tqdm', 'click', 'filelock', 'platformdirs'}\n"
        "print(heavy & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert run.stdout == "set()\n"
