"""A scriptable HTTP server on loopback, and small real datasets for it to serve."""

import gzip
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

from mnist_softmax.data.catalog import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, DataFile, Dataset

#: Speaks on a connection after the request was read; the event is set when the server stops.
Answer = Callable[[socket.socket, threading.Event], None]


def page(
    body: bytes, status: str = "200 OK", *, length: int | None = -1, headers: Iterable[str] = ()
) -> Answer:
    """`body` under a Content-Length: its own (-1), another one, or none at all (None)."""
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == -1 else length}")
    return raw("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def raw(data: bytes) -> Answer:
    """These bytes, then the end of the connection."""

    def answer(connection: socket.socket, _stop: threading.Event) -> None:
        connection.sendall(data)

    return answer


def redirect(location: str, status: int = 302) -> Answer:
    return page(b"elsewhere", f"{status} Found", headers=[f"Location: {location}"])


def reset_after(data: bytes) -> Answer:
    """These bytes, then a reset."""

    def answer(connection: socket.socket, _stop: threading.Event) -> None:
        connection.sendall(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return answer


def stall_after(data: bytes) -> Answer:
    """These bytes, then silence."""

    def answer(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(data)
        stop.wait(60)

    return answer


def drip_after(data: bytes, drops: bytes, seconds: float) -> Answer:
    """`data` at once, then one byte of `drops` every few `seconds`, over and over."""

    def answer(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(data)
        while True:
            for drop in drops:
                if stop.wait(seconds):
                    return
                connection.sendall(bytes([drop]))

    return answer


class Server:
    """Answers GET by `answers[path]`: one answer for ever, or a list of which the last is repeated."""

    def __init__(self, answers: dict[str, Answer | list[Answer]] | None = None) -> None:
        self.answers = answers if answers is not None else {}
        self.requests: list[str] = []
        self.heads: list[bytes] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with suppress(OSError):  # wakes accept
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                chunk = connection.recv(65536)
                if not chunk:
                    return
                head += chunk
                if head.startswith(b"\x16"):  # the hello of TLS, which this server does not speak
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    return
            path = head.split(b" ")[1].decode("latin-1")
            with self._lock:
                self.requests.append(path)
                self.heads.append(head)
                answer = self.answers.get(path, page(b"no such page", "404 Not Found"))
                if isinstance(answer, list):
                    answer = answer.pop(0) if len(answer) > 1 else answer[0]
            answer(connection, self._stop)


def idx_bytes(dims: tuple[int, ...], seed: int) -> bytes:
    """An IDX file of unsigned bytes that does not compress well."""
    count = 1
    for dim in dims:
        count *= dim
    values = b"".join(hashlib.sha256(f"{seed} {n}".encode()).digest() for n in range(count // 32 + 1))
    if len(dims) == 1:
        values = bytes(value % 10 for value in values)
    return bytes((0, 0, 8, len(dims))) + struct.pack(f">{len(dims)}I", *dims) + values[:count]


def small_dataset(
    name: str = "small", *, raw_hashes: bool = True, seed: int = 0
) -> tuple[Dataset, dict[str, bytes]]:
    """A dataset of 50 and 20 images of 4 by 5 pixels, without mirrors, and its files by name."""
    shapes = {TRAIN_IMAGES: (50, 4, 5), TRAIN_LABELS: (50,), TEST_IMAGES: (20, 4, 5), TEST_LABELS: (20,)}
    files, contents = [], {}
    for number, (file_name, dims) in enumerate(shapes.items()):
        content = idx_bytes(dims, seed + number)
        packed = gzip.compress(content, mtime=0)
        raw_sha256 = hashlib.sha256(content).hexdigest() if raw_hashes else None
        file = DataFile(file_name, len(packed), hashlib.sha256(packed).hexdigest(), dims, raw_sha256)
        files.append(file)
        contents[file.name], contents[file.packed_name] = content, packed
    return Dataset(name, tuple(files), (), tuple("0123456789"), ""), contents


def serving(contents: dict[str, bytes]) -> dict[str, Answer | list[Answer]]:
    """Answers that deliver the packed files."""
    return {f"/{name}": page(body) for name, body in contents.items() if name.endswith(".gz")}
