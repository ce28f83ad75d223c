"""A scriptable HTTP server on loopback, and small real datasets for it to serve."""

import gzip
import hashlib
import io
import socket
import struct
import threading
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import numpy as np

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


def learnable(rows: int, classes: int, height: int, width: int, seed: int) -> tuple[Any, Any]:
    """Images (rows, height, width) of classes that can be told apart, and their labels from 0, uint8."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) % classes).astype(np.uint8)
    prototypes = np.random.default_rng(99).integers(0, 200, (classes, height, width))
    return (prototypes[labels] + rng.integers(0, 55, (rows, height, width))).astype(np.uint8), labels


def as_idx(array: Any) -> Any:
    """An array of uint8, or of int32 in columns, as an IDX file."""
    kind = 0x08 if array.dtype == np.uint8 else 0x0C
    head = bytes((0, 0, kind, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + (array if kind == 0x08 else array.astype(">i4")).tobytes()


def small_emnist(
    change: Callable[[dict[str, bytes]], object] = lambda _: None, padding: int = 0
) -> tuple[dict[str, Dataset], bytes]:
    """Letters and digits of 6 x 5 pixels as EMNIST serves them, and the zip that holds both.

    `change` may alter the members, which are pinned as they were before; `padding` makes the zip longer.
    """
    members: dict[str, bytes] = {}
    files: dict[str, list[DataFile]] = {}
    for name, classes, first in (("emnist-letters", 26, 1), ("emnist-digits", 10, 0)):
        files[name] = []
        for split, rows in (("train", 10 * classes), ("test", 2 * classes)):
            images, labels = learnable(rows, classes, 6, 5, rows)
            for what, array, raw in (
                ("images-idx3", images, images.transpose(0, 2, 1)),
                ("labels-idx1", labels, labels + np.uint8(first)),
            ):
                member = f"gzip/{name}-{split}-{what}-ubyte.gz"
                members[member] = gzip.compress(as_idx(raw), mtime=0)
                pinned = hashlib.sha256(members[member]).hexdigest() if first else None
                canonical = f"{split.replace('test', 't10k')}-{what}-ubyte"
                file = DataFile(
                    *(canonical, 0, "", array.shape),
                    packed_as="gzip.zip",
                    member=member,
                    member_sha256=pinned,
                    transposed=array.ndim == 3,
                    labels=range(first, first + classes),
                )
                files[name].append(file)
    change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content)
        archive.writestr(zipfile.ZipInfo("gzip/emnist-byclass.gz"), np.random.default_rng(0).bytes(padding))
    return pinned_to(files, buffer.getvalue()), buffer.getvalue()


def pinned_to(files: dict[str, list[DataFile]], packed: bytes) -> dict[str, Dataset]:
    """The datasets of `small_emnist` whose zip is this one."""
    pins: Any = {"packed_bytes": len(packed), "packed_sha256": hashlib.sha256(packed).hexdigest()}
    names = {"emnist-letters": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "emnist-digits": "0123456789"}
    return {
        name: Dataset(
            name,
            tuple(replace(file, **pins) for file in its_files),
            ("http://127.0.0.1:9/",),
            tuple(names[name]),
            "not stated",
            "emnist",
        )
        for name, its_files in files.items()
    }


def small_qmnist() -> tuple[Dataset, dict[str, bytes]]:
    """QMNIST in small: labels of eight columns, sizes of the images unknown; and its files by their names."""
    files: list[DataFile] = []
    served: dict[str, bytes] = {}
    for split, rows in (("train", 100), ("test", 100)):
        images, labels = learnable(rows, 10, 6, 5, len(files))
        columns = np.random.default_rng(0).integers(-(1 << 31), 1 << 31, (rows, 8))
        columns[:, 0] = labels
        for what, array, raw in (
            ("images-idx3-ubyte", images, images),
            ("labels-idx2-int", labels, columns.astype(np.int32)),
        ):
            name, packed = f"qmnist-{split}-{what}.gz", gzip.compress(as_idx(raw), mtime=0)
            canonical = f"{split.replace('test', 't10k')}-{what}".replace("idx2-int", "idx1-ubyte")
            known, sha256 = array.ndim == 1, hashlib.sha256(packed).hexdigest()
            size = len(packed) if known else 4000
            files.append(DataFile(canonical, size, sha256, array.shape, packed_as=name, size_is_known=known))
            served[name] = packed
    return Dataset("qmnist", tuple(files), ("http://127.0.0.1:9/",), tuple("0123456789"), "BSD"), served
