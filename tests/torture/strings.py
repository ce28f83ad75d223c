"""Strings that could do harm on a terminal or in a page, and every place where the program reads a string."""

import hashlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import CONTENTS, DATASET
from links import CACHED
from mutations import parts
from servers import Answer, page, raw, serving

from mnist_softmax.records.npy import pack

#: What would be seen at the beginning of a line if a string made one.
FORGED = "FORGED"
SINGLE = [
    *("\x1b[2J", "\x1b]0;", "\x07", "\b", "\n", "\r", "\v", "\f", "\x1c", "\x7f", "\x85", "\x9b2J"),
    *("\u2028", "\u2029", "\u200f", "\u202e", "\u2066", "\ufeff", "\U000e0041", "\udc9b", "\t"),
]
MARKUP = [
    f'"><script>{FORGED}()</script><img src=x onerror={FORGED}()>',
    f"' onmouseover={FORGED}() x=\" onfocus={FORGED}() y=",
    f"</script><script>{FORGED}()//",
    f"<!--<script>{FORGED}</title></style></pre>",
    f"{{{{ 7 * 7 }}}}{{% raw %}}&quot;&gt;javascript:{FORGED}();background:url(//x)",
]
PAYLOADS = [FORGED.join(["a", *SINGLE, ""]), *(f"a{text}{FORGED}" for text in SINGLE)]
Prepare = Callable[[Path, str], object]


@dataclass(frozen=True)
class Place:
    """Where a string is read, and the command lines that read it; `{}` in an argument stands for the string."""

    name: str
    prepare: Prepare
    commands: list[list[str]]
    variables: Mapping[str, str] = field(default_factory=dict)


def lines(*commands: str) -> list[list[str]]:
    """Command lines as lists of arguments."""
    return [command.split() for command in commands]


READERS = lines(
    "eval w.npy --data-dir data",
    "eval w.npy --data-dir data --confusion --min-class-recall 1",
    "eval w.npy --dataset mnist",
    "eval w.npy",
    "show w.npy",
    "show w.npy --mistakes --data-dir data",
    "show w.npy --index 1 --data-dir data",
    "report w.npy --data-dir data",
    "report w.npy",
    "info w.npy",
    "reproduce w.npy",
    "reproduce w.npy --data-dir data",
    "reproduce w.npy --dry-run",
    "predict --weights w.npy five.png broken.png",
    "predict --weights w.npy five.png --show",
    "compare w.npy v.npy --data-dir data --fail-if-worse",
    "compare v.npy w.npy",
    "compare v.npy w.npy v.npy",
    "compare v.npy v.npy w.npy --markdown",
    "eval w.npy --markdown",
)
#: What `--json` goes with.
JSON = {"eval", "info", "reproduce", "predict", "compare", "download", "train", "sweep"}


def nothing(_work: Path, _text: str) -> None:
    """Prepare nothing."""


def in_the_receipt(change: Callable[[dict[str, Any], str], object]) -> Prepare:
    """Change the receipt of w.npy."""

    def prepare(work: Path, text: str) -> None:
        array, packed = parts((work / "w.npy").read_bytes())
        receipt = json.loads(packed.tobytes())
        change(receipt, text)
        (work / "w.npy").write_bytes(pack(array, json.dumps(receipt).encode()))

    return prepare


def _classes(receipt: dict[str, Any], text: str) -> None:
    receipt["class_names"] = [f"{text}{n}" for n in range(10)]


def receipts() -> Iterator[Place]:
    """Every string of a receipt, sound or of the wrong type, and every key."""
    changes: dict[str, Callable[[dict[str, Any], str], object]] = {
        "class names": _classes,
        "a version": lambda receipt, text: receipt["versions"].update(numpy=text, blas=text),
        "a version's name": lambda receipt, text: receipt["versions"].update({text: "1"}),
        "data_dir": lambda receipt, text: receipt.update(data_dir=text),
        "dataset": lambda receipt, text: receipt.update(dataset=text, data_dir=None),
        "a file's name": lambda receipt, text: receipt["files"].update({text: "0"}),
        "a file's hash": lambda receipt, text: receipt["files"].update({"train-images-idx3-ubyte": text}),
        "a feature": lambda receipt, text: receipt.update(features=[text]),
        "a setting's name": lambda receipt, text: receipt["settings"].update({text: 1}),
        "a setting": lambda receipt, text: receipt["settings"].update(schedule=text),
        "a number": lambda receipt, text: receipt["settings"].update(lr=text),
        "rows": lambda receipt, text: receipt.update(rows=text),
        "a key": lambda receipt, text: receipt.update({text: 1}),
        "the hash": lambda receipt, text: receipt.update(array_sha256=text),
    }
    for name, change in changes.items():
        yield Place(f"receipt: {name}", in_the_receipt(change), READERS)

    def folder(work: Path, text: str) -> None:
        in_the_receipt(changes["data_dir"])(work, text)
        (work / text).symlink_to("data")

    yield Place("receipt: data_dir that exists", folder, READERS)
    names = lines(
        *("eval w.npy", "info w.npy", "show w.npy", "predict --weights w.npy five.png", "compare w.npy v.npy")
    )

    def damaged(work: Path, text: str) -> None:
        array, _ = parts((work / "w.npy").read_bytes())
        (work / "w.npy").write_bytes(pack(array, text.encode(errors="surrogateescape")))

    yield Place("receipt: not JSON", damaged, names)
    headers: dict[str, Callable[[str], str]] = {
        "dtype": lambda text: f"{{'descr': {text!r}, 'fortran_order': False, 'shape': (21, 10), }}",
        "field": lambda text: (
            f"{{'descr': [({text!r}, '<f4')], 'fortran_order': False, 'shape': (21, 10), }}"
        ),
        "key": lambda text: f"{{'descr': '<f4', 'fortran_order': False, 'shape': (21, 10), {text!r}: 1, }}",
        "shape": lambda text: f"{{'descr': '<f4', 'fortran_order': False, 'shape': {text!r}, }}",
        "nothing": lambda text: text,
    }
    for name, head in headers.items():

        def written(work: Path, text: str, head: Callable[[str], str] = head) -> None:
            packed = head(text).encode("latin-1", "replace")
            start = b"\x93NUMPY\x01\x00" + len(packed).to_bytes(2, "little")
            (work / "w.npy").write_bytes(start + packed + bytes(840))

        yield Place(f".npy header: {name}", written, names)


def signed(work: Path, text: str) -> None:
    """A sound checkpoint of a run that differs in every string."""
    arrays, packed, _ = parts((work / "w.npy.checkpoint").read_bytes())
    head = json.loads(packed.tobytes())
    for change in (_classes, lambda run, text: run.update(data_dir=text)):
        change(head["run"], text)
    head["run"]["versions"] = {"numpy": text, text: "1"}
    body = pack(arrays, json.dumps(head).encode())
    (work / "w.npy.checkpoint").write_bytes(body + pack(hashlib.sha256(body).digest()))


def paths() -> Iterator[Place]:
    """The command line: names of files and folders, sound ones and others, and what is no name at all."""
    missing = lines(
        "{}",
        "--{}",
        "train {}",
        "train --{}",
        "train --dataset {}",
        "train --lr {}",
        "train --epochs {}",
        "train --schedule {}",
        "sweep --lr {}",
        "train --config {}",
        "train --data-dir {}",
        "train --cache-dir {}/{} --offline",
        "train --out {}/x.npy",
        "train --log {}/x",
        "eval {}",
        "eval w.npy --data-dir {}",
        "eval w.npy --split {}",
        "eval --min-accuracy {}",
        "eval w.npy --predictions {}/x",
        "predict --weights w.npy {}",
        "predict --weights {} five.png",
        "predict --weights w.npy {} five.png",
        "show {}",
        "show --color {}",
        "show --index {}",
        "report {}",
        "report w.npy --out {}/x",
        "compare {} w.npy",
        "compare w.npy {}",
        "compare w.npy v.npy --differences {}/x",
        "reproduce {}",
        "info {}",
        "download --from {}",
        "download --dataset {}",
        "gradcheck {}",
        "download --mirror {}",
        "download --mirror http://127.0.0.1:9/{}/ --force",
        "download --mirror http://{}:{}@127.0.0.1:9/ --force",
        "download --mirror http://127.0.0.1:9{}/",
        "quickstart {}",
    )
    yield Place("argument", nothing, missing)
    sound = lines(
        "train --data-dir data --epochs 1 --out {}.out --log {}.log",
        "train --data-dir {}.data --epochs 1",
        "train --config {}.toml",
        "sweep --data-dir {}.data --out {}.out",
        "download --from {}.packed --force",
        "download --cache-dir {}.cache",
        "download --offline --cache-dir {}.old",
        "eval {}.npy --data-dir data --predictions {}.csv --min-accuracy 1",
        "eval w.npy --data-dir {}.data",
        "show {}.npy",
        "info {}.npy",
        "show {}.npy --mistakes --data-dir {}.data",
        "report {}.npy --out {}.html",
        "report w.npy --data-dir {}.data",
        "reproduce {}.npy",
        "compare {}.npy {}.npy --data-dir {}.data",
        "compare {}.npy w.npy v.npy --data-dir {}.data --markdown",
        "reproduce {}.npy --dry-run",
        "predict --weights {}.npy {}.png {}.gif {}.data",
        "predict --show --weights w.npy {}.png",
        "predict --weights w.npy {}.dark.png",
        "train --print-config --data-dir {}.data --out {} --log {}",
        "train --out {}.data",
        "train --out {}.pipe --data-dir data",
        "eval {}.broken.npy",
        "train --data-dir {}.broken",
        "eval {}.bare.npy",
    )

    def named(work: Path, text: str) -> None:
        (work / f"{text}.data").symlink_to("data")
        (work / f"{text}.packed").symlink_to("packed")
        (work / f"{text}.cache").symlink_to("cache")
        shutil.copytree(work / "cache", work / f"{text}.old")
        for path in (work / f"{text}.old").glob("*/*idx3*"):
            path.write_bytes(b"damaged")
        for source, target in (
            *(("w.npy", ".npy"), ("five.png", ".png"), ("broken.png", ".gif"), ("c.toml", ".toml")),
            ("dark.png", ".dark.png"),
        ):
            shutil.copy(work / source, work / f"{text}{target}")
        os.mkfifo(work / f"{text}.pipe")
        packed = (work / "w.npy").read_bytes()
        (work / f"{text}.broken.npy").write_bytes(packed[:-1])
        (work / f"{text}.bare.npy").write_bytes(pack(parts(packed)[0]))
        (work / f"{text}.broken").mkdir()
        for path in (work / "data").iterdir():
            (work / f"{text}.broken" / path.name).write_bytes(path.read_bytes()[:-1])

    yield Place("name of a file", named, sound)

    def beside(work: Path, text: str) -> None:
        (work / "data" / text).write_bytes(b"x")
        (work / "data" / f"t10k-images{text}idx3-ubyte").write_bytes(b"x")
        (work / "data" / "t10k-images-idx3-ubyte").unlink()
        (work / CACHED / text).write_bytes(b"x")

    yield Place(
        "name in a folder", beside, lines("eval w.npy --data-dir data", "download", "train --epochs 1")
    )
    yield Place("checkpoint", signed, lines("train --epochs 2 --data-dir data --out w.npy --resume"))


def configs() -> Iterator[Place]:
    """Keys and values of a config."""
    commands = lines("train --config c.toml", "sweep --config c.toml", "train --config c.toml --print-config")
    keys = "dataset data_dir out log schedule lr epochs features seed cache_dir".split()
    texts: dict[str, Callable[[str], str]] = {
        "a key": lambda text: f"{json.dumps(text)} = 1",
        "a table": lambda text: f"[{json.dumps(text)}]\nlr = 1",
        "TOML": lambda text: f"lr = {text}",
        "a string": lambda text: f'out = "{text}"',
        "a comment": lambda text: f"# {text}\nlr = 0.1",
        **{f"{key}": lambda text, key=key: f"{key} = {json.dumps(text)}" for key in keys},  # type: ignore[misc]
    }
    for name, write in texts.items():

        def prepare(work: Path, text: str, write: Callable[[str], str] = write) -> None:
            (work / "c.toml").write_bytes(write(text).encode(errors="surrogateescape"))

        yield Place(f"config: {name}", prepare, commands)


def variables() -> Iterator[Place]:
    """The environment: the program's own variables, unknown ones, and others that libraries read."""
    options = "LR EPOCHS DATASET DATA_DIR OUT LOG SCHEDULE CONFIG FEATURES RESUME".split()
    own = [f"MNIST_SOFTMAX_{name}" for name in ("CACHE_DIR", "OFFLINE", "MIRROR", "TRIAN_LR", "EVAL_WEIGHTS")]
    commands = lines("train --epochs 1", "eval w.npy --dataset mnist", "download --force")
    names = [*own, *(f"MNIST_SOFTMAX_TRAIN_{name}" for name in options), "MNIST_SOFTMAX_{}", "XDG_CACHE_HOME"]
    for name in names:
        yield Place(f"environment: {name}", nothing, commands, {name: "{}"})
    for value in ("{}", "http://{}/", "http://{}:{}@127.0.0.1:9/", "http://127.0.0.1:{}/"):
        proxies = {"http_proxy": value, "no_proxy": ""}
        yield Place(f"environment: http_proxy {value}", nothing, lines("download --force"), proxies)
    others = "HOME TERM COLORTERM COLUMNS LINES NO_COLOR no_proxy REQUESTS_CA_BUNDLE TZ LANG".split()
    drawing = lines("show w.npy", "info w.npy", "train --help")
    for name in others:
        yield Place(f"environment: {name}", nothing, [*commands, *drawing], {name: "{}"})


def pictures() -> Iterator[Place]:
    """Texts in pictures, sound and broken."""
    from PIL import Image, PngImagePlugin

    def saved(kind: str) -> Prepare:
        def prepare(work: Path, text: str) -> None:
            with Image.open(work / "five.png") as opened:
                picture = opened.convert("L")
            packed, options = text.encode("utf-8", "surrogateescape"), {}
            exif = Image.Exif()
            exif[270] = exif[305] = text.encode(errors="replace").decode()
            if kind == "png":
                info = PngImagePlugin.PngInfo()
                with suppress(ValueError, UnicodeError):
                    info.add_text("Comment", text)
                    info.add_itxt("Title", text, "en", text)
                options = {"pnginfo": info, "exif": exif}
            elif kind in {"jpeg", "webp"}:
                options = {"exif": exif, **({"comment": packed} if kind == "jpeg" else {})}
            elif kind == "gif":
                options = {"comment": packed}
            elif kind == "tiff":
                options = {"tiffinfo": {270: text.encode(errors="replace").decode(), 305: packed}}
            picture.save(work / "p.png", kind, **options)

        return prepare

    def broken(content: Callable[[bytes], bytes]) -> Prepare:
        return lambda work, text: (work / "p.png").write_bytes(
            content(text.encode("utf-8", "surrogateescape"))
        )

    def chunk(name: bytes) -> bytes:
        body = name[1:5].ljust(4, b"x") + name
        head = b"IHDR" + (8).to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            (len(part) - 4).to_bytes(4, "big") + part + zlib.crc32(part).to_bytes(4, "big")
            for part in (head, body)
        )

    commands = lines("predict --weights w.npy p.png", "predict --weights w.npy --show p.png five.png")
    for kind in ("png", "jpeg", "gif", "tiff", "webp"):
        yield Place(f"picture: metadata of {kind}", saved(kind), commands)
    makers: dict[str, Callable[[bytes], bytes]] = {
        "text": lambda text: text,
        "PNM": lambda text: b"P5 " + text + b" 8 255\n" + bytes(64),
        "a PNG chunk": chunk,
        "EPS": lambda text: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%Title: " + text,
        "XPM": lambda text: b'/* XPM */\nstatic char *x[] = {\n"1 1 1 1",\n"' + text + b'",\n"a"};',
        "XBM": lambda text: b"#define " + text + b"_width 8\n#define x_height 8\nstatic char x[]={0}",
        "PDF": lambda text: b"%PDF-1.4\n" + text,
        "IM": lambda text: b"Image type: " + text + b"\r\nImage size (x*y): 8*8\r\n" + bytes(600),
        "BMP": lambda text: b"BM" + text.ljust(60, b"\x9b"),
        "GIF": lambda text: b"GIF89a\x08\x00\x08\x00\x00\x00\x00" + text,
    }
    for name, make in makers.items():
        yield Place(f"picture: {name}", broken(make), commands)


def stamps() -> Iterator[Place]:
    """The cache's stamp, and damaged files in the cache."""
    commands = lines("download", "train --epochs 1", "eval w.npy --dataset mnist")

    def prepare(work: Path, text: str) -> None:
        path = work / CACHED / "stamp.json"
        stamp = json.loads(path.read_text())
        for entry in stamp["files"].values():
            entry["sha256"] = text
        stamp[text] = stamp["files"][text] = 1
        path.write_text(json.dumps(stamp))

    yield Place("stamp", prepare, commands)
    yield Place(
        "stamp, not JSON",
        lambda work, text: (work / CACHED / "stamp.json").write_bytes(text.encode(errors="surrogateescape")),
        commands,
    )


def answers(text: str) -> dict[str, Answer]:
    """What a server says."""
    packed = text.encode("utf-8", "surrogateescape")
    latin = text.encode("latin-1", "replace").decode("latin-1")
    flat = re.sub(r"[\r\n]", " ", latin)
    return {
        "status": page(packed, f"404 {flat}"),
        "status with a line": page(packed, f"404 {latin}"),
        "error": page(packed, f"500 {flat}", headers=["Retry-After: 0"]),
        "status line": raw(packed + b"\r\n\r\n"),
        "version": raw(b"HTTP/" + packed + b" 200 OK\r\n\r\n"),
        "number": raw(b"HTTP/1.1 " + packed + b" OK\r\n\r\n"),
        "location": page(b"", "302 Found", headers=[f"Location: {flat}"]),
        "location, a URL": page(b"", "302 Found", headers=[f"Location: http://127.0.0.1:9/{flat}"]),
        "location, a host": page(b"", "302 Found", headers=[f"Location: http://{flat}/"]),
        "location, a scheme": page(b"", "302 Found", headers=[f"Location: {flat}://x/"]),
        "location, a password": page(b"", "302 Found", headers=[f"Location: http://{flat}@127.0.0.1:9/"]),
        "length": page(packed, length=None, headers=[f"Content-Length: {flat}"]),
        "encoding": page(packed, headers=[f"Content-Encoding: {flat}"]),
        "transfer": page(packed, length=None, headers=[f"Transfer-Encoding: {flat}"]),
        "chunk": page(packed + b"\r\n", length=None, headers=["Transfer-Encoding: chunked"]),
        "retry": page(b"", "503 Busy", headers=[f"Retry-After: {flat}"]),
        "headers": page(packed, headers=[f"{flat}: {flat}", f"Set-Cookie: {flat}", f"Server: {flat}"]),
        "type": page(packed, headers=[f"Content-Type: text/html; charset={flat}"]),
        "page": page(b"<html>" + packed),
        "authentication": page(b"", "401 No", headers=[f"WWW-Authenticate: Basic realm={flat}"]),
    }


def places() -> list[Place]:
    """All of them, but for what servers say."""
    return [place for group in (receipts, paths, configs, variables, pictures, stamps) for place in group()]


def serving_strings() -> dict[str, Answer | list[Answer]]:
    """A good mirror, and one for each answer with each payload."""
    found: dict[str, Answer | list[Answer]] = {f"/good{path}": a for path, a in serving(CONTENTS).items()}
    for number, text in enumerate(PAYLOADS):
        for kind, said in answers(text).items():
            for file in DATASET.files:
                base = f"/{number}-{kind.replace(' ', '_')}"
                found[f"{base}/{file.packed_name}"] = found[f"{base}/2/{file.packed_name}"] = said
    return found
