"""Symbolic links, hard links, loops, folders, devices and pipes in every place where the program takes a path.

What a command reads is never written, whatever it is called. A link given as an output stays a link, and its
target is replaced as a whole. A link in the cache is replaced and never written through.
"""

import os
import random
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import chdir, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from common import CONTENTS, DATASET, Row, Tally, mirror, temporaries
from forks import Ended, Forks

from mnist_softmax.data.open import open_split
from mnist_softmax.records import checkpoint
from mnist_softmax.runs import fit
from mnist_softmax.settings import Settings

Change = Callable[[Path], object]
Check = Callable[[Path, Ended], str]

RAW = [name for name in CONTENTS if not name.endswith(".gz")]
PACKED = [name for name in CONTENTS if name.endswith(".gz")]
CACHED = f"cache/{DATASET.name}"
#: Everything that a case must leave as it was, unless it says otherwise.
VICTIM = b"precious\n" * 100
TRAIN = ("train", "--epochs", 1, "--lr", 0.3)
#: An output of each command that writes, after what it reads; `{}` stands for the output.
WRITERS: dict[str, tuple[str, dict[str, list[str]]]] = {
    # name: (command line, {kind of input: its files})
    "train --out": (
        "train --epochs 1 --config c.toml --data-dir data --out {}",
        {"config": ["c.toml"], "data": RAW},
    ),
    "train --log": (
        "train --epochs 1 --config c.toml --data-dir data --out new.npy --log {}",
        {"config": ["c.toml"], "data": RAW},
    ),
    "train --out, packed": ("train --epochs 1 --data-dir packed --out {}", {"packed": PACKED}),
    "train --out, cached": ("train --epochs 1 --out {}", {CACHED: sorted(CONTENTS)}),
    "train --log, cached": ("train --epochs 1 --out new.npy --log {}", {CACHED: sorted(CONTENTS)}),
    "train --resume": (
        "train --epochs 2 --data-dir data --out w.npy --resume --log {}",
        {"": ["w.npy.checkpoint"]},
    ),
    "sweep --out": ("sweep --config c.toml --data-dir data --out {}", {"config": ["c.toml"], "data": RAW}),
    "eval --predictions": (
        "eval w.npy --data-dir data --predictions {}",
        {"weights": ["w.npy"], "data": RAW},
    ),
    "eval --probabilities": (
        "eval w.npy --data-dir data --probabilities {}",
        {"weights": ["w.npy"], "data": RAW},
    ),
    "eval --predictions, cached": ("eval w.npy --dataset mnist --predictions {}", {CACHED: sorted(CONTENTS)}),
    "compare --differences": (
        "compare w.npy v.npy --data-dir data --differences {}",
        {"weights": ["w.npy", "v.npy"], "data": RAW},
    ),
    "report --out": ("report w.npy --data-dir data --out {}", {"weights": ["w.npy"], "data": RAW}),
}
#: A place for a file that is only read: the command line, and the name of the file.
READERS: dict[str, tuple[str, str]] = {
    **{
        f"{command}, weights": (line, "w.npy")
        for command, line in {
            "eval": "eval w.npy --data-dir data",
            "show": "show w.npy",
            "report": "report w.npy --data-dir data --out new.html",
            "info": "info w.npy",
            "reproduce": "reproduce w.npy --data-dir data",
            "predict": "predict --weights w.npy five.png",
            "compare": "compare v.npy w.npy --data-dir data",
        }.items()
    },
    "predict, picture": ("predict --weights w.npy five.png", "five.png"),
    "predict, folder": ("predict --weights w.npy pictures", "pictures/five.png"),
    "train, config": ("train --config c.toml --data-dir data --out new.npy", "c.toml"),
    "sweep, config": ("sweep --config c.toml --data-dir data", "c.toml"),
    "train, checkpoint": ("train --epochs 2 --data-dir data --out w.npy --resume", "w.npy.checkpoint"),
    **{f"eval, {name}": ("eval w.npy --data-dir data", f"data/{name}") for name in RAW if "t10k" in name},
    **{
        f"download --from, {name}": ("download --from packed --cache-dir new", f"packed/{name}")
        for name in CONTENTS
        if name.endswith(".gz")
    },
}
#: A place for a folder: the command line, and the name of the folder.
FOLDERS: dict[str, tuple[str, str]] = {
    "train --data-dir": ("train --epochs 1 --data-dir data --out new.npy", "data"),
    "eval --data-dir": ("eval w.npy --data-dir data", "data"),
    "download --from": ("download --from packed --cache-dir new", "packed"),
    "download --cache-dir": ("download --cache-dir cache", "cache"),
    "train --cache-dir": ("train --epochs 1 --cache-dir cache --out new.npy", "cache"),
    "train, dataset's folder": ("train --epochs 1 --out new.npy", CACHED),
    "train --out, its folder": ("train --epochs 1 --data-dir data --out folder/new.npy", "folder"),
    "report --out, its folder": ("report w.npy --data-dir data --out folder/new.html", "folder"),
}


@dataclass(frozen=True)
class Case:
    """A change of the template, a command line, the exit codes that are right, and a check of what is left.

    `changing`: files that the command may replace or remove, besides the cache's stamp.
    """

    name: str
    prepare: Change
    command: str
    codes: set[int]
    check: Check = lambda _work, _ended: ""
    changing: tuple[str, ...] = ()


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Name -> kind, and the content of a file or the target of a link, for everything in a folder."""
    found = {}
    for path in folder.rglob("*"):
        kind = stat.S_IFMT(path.lstat().st_mode)
        content = os.fsencode(path.readlink()) if kind == stat.S_IFLNK else b""
        if kind == stat.S_IFREG:
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = kind, content
    return found


def alias(kind: str, name: str, target: str) -> Change:
    """Give the file `target` another name of some kind."""

    def change(work: Path) -> None:
        path = work / name
        match kind:
            case "symbolic":
                path.symlink_to(work / target)
            case "chain":
                (work / "between").symlink_to(target)
                path.symlink_to("between")
            case "hard":
                os.link(work / target, path)
            case "folder":
                (work / "linked").symlink_to(Path(target).parent)
            case "back":  # the input is a link to the output
                (work / target).rename(path)
                (work / target).symlink_to(path)

    return change


ALIASES = ("same", "symbolic", "chain", "hard", "folder", "back")


def overwriting() -> Iterator[Case]:
    """Each output is another name of each input: refused, and nothing changes."""
    for name, (line, inputs) in WRITERS.items():
        for folder, files in inputs.items():
            for file in files:
                target = f"{folder}/{file}" if folder in {"data", "packed", CACHED} else file
                for kind in ALIASES:
                    output = {"same": f"./{target}", "folder": f"linked/{file}"}.get(kind, "other")
                    yield Case(
                        f"{name} {kind} {target}", alias(kind, "other", target), line.format(output), {2}
                    )
                if name.startswith(("train --out", "sweep")):  # the checkpoint beside it is an output, too
                    for kind in ("symbolic", "hard"):
                        change = alias(kind, "o.npy.checkpoint", target)
                        yield Case(f"{name} checkpoint {kind} {target}", change, line.format("o.npy"), {2})
    for name in ("quickstart.npy", "quickstart-pixels.npy.checkpoint"):
        for file in sorted(CONTENTS):
            for kind in ("symbolic", "hard"):
                change = alias(kind, name, f"{CACHED}/{file}")
                yield Case(f"quickstart {name} {kind} {file}", change, "quickstart", {2})
    for kind in ("symbolic", "hard"):
        change = alias(kind, "other", "w.npy")
        line = "train --epochs 1 --data-dir data --out w.npy --log other"
        yield Case(f"one output twice, {kind}", change, line, {2})


def special(kind: str, path: Path) -> None:
    """Put something that is not a file where a file is expected."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    aside = path.with_name("aside")
    match kind:
        case "loop":
            aside.symlink_to(path.name)
            path.symlink_to("aside")
        case "dangling":
            path.symlink_to("missing/file")
        case "folder":
            aside.mkdir()
            path.symlink_to("aside")
        case "pipe":
            os.mkfifo(path)
        case "link to a pipe":
            os.mkfifo(aside)
            path.symlink_to("aside")
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        case "victim":
            aside.write_bytes(VICTIM)
            path.symlink_to("aside")
        case _:
            path.symlink_to(kind)


SPECIAL = (
    *("loop", "dangling", "folder", "pipe", "link to a pipe", "socket"),
    *("/dev/zero", "/dev/null", "/dev/full", "/proc/self/mem"),
)


def replaced(link: str, target: str, others: dict[str, bytes]) -> Check:
    """The link is still one, its target is a new whole file, and other names of the old one have the old content."""

    def check(work: Path, ended: Ended) -> str:
        path = work / link
        if not path.is_symlink() or path.readlink() != Path(target):
            return "the link is gone"
        if (work / target).is_symlink() or not (work / target).is_file():
            return "the target is no file"
        content = (work / target).read_bytes()
        if not content or content == VICTIM:
            return "the target was not written"
        wrong = [name for name, old in others.items() if (work / name).read_bytes() != old]
        return f"{wrong} changed" if wrong else ""

    return check


def writing() -> Iterator[Case]:
    """Outputs that are links to a file of no importance, to nothing, or to what is not a file."""
    for name, (line, _) in WRITERS.items():
        command = line.format("other")
        kept = {} if "--log" in line else {"twin": VICTIM}  # a log is written line by line

        def to_file(work: Path) -> None:
            (work / "real").write_bytes(VICTIM)
            os.link(work / "real", work / "twin")
            (work / "other").symlink_to("real")

        changing = ("real", "twin", "other", "w.npy", "w.npy.checkpoint")
        yield Case(f"{name} link", to_file, command, {0}, replaced("other", "real", kept), changing)
        yield Case(
            f"{name} link to nothing",
            lambda work: (work / "other").symlink_to("real"),
            command,
            {0},
            replaced("other", "real", {}),
            changing,
        )
        for kind in SPECIAL:

            def change(work: Path, kind: str = kind) -> None:
                special(kind, work / "other")

            yield Case(
                f"{name} {kind}", change, command, {2, 5} if kind in {"loop", "/proc/self/mem"} else {2}
            )
        if name.startswith(("train --out", "sweep")):
            for kind in SPECIAL:

                def beside(work: Path, kind: str = kind) -> None:
                    special(kind, work / "o.npy.checkpoint")

                yield Case(f"{name} checkpoint {kind}", beside, line.format("o.npy"), {0, 2, 5})


def moved(name: str) -> Change:
    """Move a file or folder away and leave a link in its place."""

    def change(work: Path) -> None:
        (work / name).rename(work / "moved")
        (work / name).symlink_to(work / "moved")

    return change


def reading() -> Iterator[Case]:
    """Inputs that are links to what is wanted, or to something else."""
    for name, (line, file) in READERS.items():
        written = ("w.npy", "w.npy.checkpoint", "moved") if "--resume" in line else ()
        yield Case(f"{name} link", moved(file), line, {0}, changing=written)
        for kind in SPECIAL:

            def change(work: Path, kind: str = kind, file: str = file) -> None:
                special(kind, work / file)

            refused = {3} if "--from" in name else {0, 4, 6} if kind == "/dev/null" else set()
            yield Case(f"{name} {kind}", change, line, {2, 4, 5, 6} | refused, changing=written)
    for name, (line, folder) in FOLDERS.items():
        yield Case(f"{name} link", moved(folder), line, {0}, changing=(folder, "moved"))
        for kind in SPECIAL:
            if kind == "folder":  # an empty one
                continue

            def instead(work: Path, kind: str = kind, folder: str = folder) -> None:
                special(kind, work / folder)

            yield Case(f"{name} {kind}", instead, line, {2, 5})


def in_the_cache() -> Iterator[Case]:
    """A link in place of each file of the cache; what it leads to is never written."""
    commands = {
        "download": "download",
        "download --force": "download --force",
        "download --from": "download --from packed",
        "train": "train --epochs 1 --out new.npy",
        "eval --offline": "eval w.npy --dataset mnist --offline",
    }
    for command, line in commands.items():
        for file in (*sorted(CONTENTS), "stamp.json", ".lock"):
            for kind in (*SPECIAL, "victim", "right"):

                def change(work: Path, kind: str = kind, file: str = file) -> None:
                    path = work / CACHED / file
                    if kind == "right":
                        (work / "aside").write_bytes(path.read_bytes() if path.exists() else b"")
                        path.unlink(missing_ok=True)
                        path.symlink_to(work / "aside")
                    else:
                        special(kind, path)
                        for aside in path.parent.glob("aside"):
                            aside.rename(work / "aside")
                            if path.is_symlink():
                                path.unlink()
                                path.symlink_to(work / "aside")

                def check(work: Path, ended: Ended, file: str = file, command: str = command) -> str:
                    path = work / CACHED / file
                    if (work / CACHED / "missing").exists() or (work / "missing").exists():
                        return "something was made where the link leads"
                    if ended.code or file not in CONTENTS or "offline" in command:
                        return ""
                    if path.is_symlink() and "download" in command:
                        return "still a link"
                    return "" if path.read_bytes() == CONTENTS[file] else "wrong content"

                codes = {0, 2, 3, 4, 5} if file in CONTENTS else {0}
                if kind in {"victim", "right"} and "offline" not in command:
                    codes = {0}
                name = f"{command} with {file} {kind}"
                yield Case(name, change, line, codes, check, (f"{CACHED}/*",))


def from_itself() -> Iterator[Case]:
    """A cache that is its own mirror, or linked to it."""

    def damage(work: Path) -> None:
        (work / CACHED / PACKED[0]).write_bytes(b"damaged")

    def linked(work: Path) -> None:
        for name in PACKED:
            (work / CACHED / name).unlink()
            os.link(work / "packed" / name, work / CACHED / name)

    for force in ("", " --force"):
        yield Case(f"from itself{force}", lambda _: None, f"download --from {CACHED}{force}", {0})
        yield Case(f"from itself{force}, damaged", damage, f"download --from {CACHED}{force}", {4})
        yield Case(f"from hard links{force}", linked, f"download --from packed{force}", {0})


def stale() -> Iterator[Case]:
    """A link named like a temporary that a killed process left: the link may go, its target stays."""

    def change(work: Path) -> None:
        (work / "aside").write_bytes(VICTIM)
        for folder in (work, work / CACHED):
            path = folder / ".tmp-mnist-softmax-00000000-1-00000000"
            path.symlink_to(work / "aside")
            os.utime(path, (0, 0), follow_symlinks=False)
            os.utime(work / "aside", (0, 0))

    for line in ("train --epochs 1 --data-dir data --out new.npy", "download --force"):
        yield Case(f"{line}, old temporary a link", change, line, {0}, changing=(f"{CACHED}/*", ".tmp*"))


def template(forks: Forks, folder: Path, variables: dict[str, Any]) -> None:
    """A folder with one of everything."""
    from PIL import Image, ImageDraw

    for name in ("data", "packed", "folder", "pictures"):
        (folder / name).mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / ("packed" if name.endswith(".gz") else "data") / name).write_bytes(content)
    (folder / "c.toml").write_text("epochs = 1\n")
    picture = Image.new("L", (40, 40))
    ImageDraw.Draw(picture).line((20, 5, 20, 35), 255, 4)
    picture.save(folder / "five.png")
    picture.save(folder / "pictures" / "five.png")
    forks.must("download", cwd=folder, **variables)
    for name, lr in (("w.npy", 0.1), ("v.npy", 0.2)):
        forks.must("train", "--epochs", 1, "--lr", lr, "--data-dir", "data", "--out", name, cwd=folder)
    (folder / "w.npy.checkpoint").write_bytes(a_checkpoint(folder))


def a_checkpoint(folder: Path) -> bytes:
    """The checkpoint of `train --epochs 2 --data-dir data` after the first epoch."""
    found: list[bytes] = []
    save = checkpoint.save

    def keep(path: Path, *what: Any) -> None:
        save(path, *what)
        found.append(path.read_bytes())

    with (
        chdir(folder),
        mock.patch.object(checkpoint, "save", keep),
        mock.patch.object(fit, "_SECONDS_BETWEEN_CHECKPOINTS", 0.0),
    ):
        fit.fit(open_split(data_dir=Path("data")), Settings(epochs=2), (), out=Path("aside.npy"))
    (folder / "aside.npy").unlink()
    return found[0]


def kept(before: dict[str, tuple[int, bytes]], work: Path, changing: tuple[str, ...]) -> list[str]:
    """What was there before and is not the same any more, but for what the case may change."""
    now = snapshot(work)
    return [
        name
        for name, was in before.items()
        if now.get(name) != was
        and not any(Path(name).match(pattern) for pattern in ("stamp.json", *changing))
    ]


def cases() -> list[Case]:
    """All of them."""
    return [*overwriting(), *writing(), *reading(), *in_the_cache(), *from_itself(), *stale()]


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """Every case; at most `count` of them, drawn at random."""
    tally = Tally(notes={"refused": 0, "done": 0, "slowest": 0.0})
    every = cases()
    chosen = rng.sample(every, count) if count < len(every) else every
    with mirror() as server, Forks() as forks:
        variables: dict[str, Any] = {"MNIST_SOFTMAX_CACHE_DIR": "cache", "MNIST_SOFTMAX_MIRROR": server.url}
        template(forks, folder / "template", variables)
        work = folder / "work"
        for case in chosen:
            shutil.copytree(folder / "template", work, symlinks=True)
            case.prepare(work)
            before = snapshot(work)
            ended = forks.run(*case.command.split(), cwd=work, **variables)
            tally.done += 1
            tally.notes["done" if ended.code == 0 else "refused"] += 1
            tally.most("slowest", ended.seconds)
            what = f"{case.name}: `{case.command}`"
            tally.expect(not (wrong := ended.fault(case.codes)), f"{what}: {wrong}")
            left = [name for name in temporaries(work) if not Path(name).is_symlink()]
            tally.expect(not left, f"{what}: left {left}")
            changed = kept(before, work, case.changing)
            tally.expect(not changed, f"{what}: changed {changed}")
            with suppress(OSError):
                wrong = case.check(work, ended) if ended.code == 0 or "cache" in case.command else ""
                tally.expect(not wrong, f"{what}: {wrong}")
            shutil.rmtree(work)
    return tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    return (
        f"{tally.done:,} cases ({tally.notes['refused']} refused, {tally.notes['done']} done): {len(tally.bad)} inputs "
        f"or victims changed, links lost, wrong codes, tracebacks, temporaries or hangs; slowest {tally.notes['slowest']:.1f} s"
    )


ROW = Row(
    "symbolic and hard links, loops, devices, pipes and sockets in every place that takes a path",
    len(cases()),
    run,
    figure,
    "every output of every command as another name of each of its inputs, and as a link to another file, to nothing, "
    "to a folder, a device or a pipe; every input and every file of the cache the same; forked processes; then every "
    "file is compared with what it was",
)
