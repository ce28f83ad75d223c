"""Terminal escapes, forged lines and markup in every string that the program reads, through every command.

Nothing that a file, a name, a server or the environment holds reaches stdout, stderr or a terminal unescaped. In
the page of `report` no string leaves its place. The strings and the places are in strings.py.
"""

import json
import random
import re
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from common import Row, Tally
from forks import Ended, Forks
from links import template
from servers import Server
from strings import FORGED, JSON, MARKUP, PAYLOADS, Place, nothing, places, serving_strings

#: Colours, as in a drawing.
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: A progress bar goes back to the beginning of its line.
BAR = re.compile(rf"\r(?!{FORGED})")


class Skeleton(HTMLParser):
    """The elements of a page with the names of their attributes, and what could run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: set[tuple[str, ...]] = set()
        self.scripts: list[str] = []
        self.wrong: list[str] = []
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add((tag, *sorted(name for name, _ in attrs)))
        self._inside = tag
        for name, value in attrs:
            if name.startswith("on"):
                self.wrong.append(f"<{tag} {name}>")
            if name in {"href", "src"} and not (value or "").startswith(("#", "data:")):
                self.wrong.append(f"<{tag} {name}={value!r}>")
            if name in {"style", "class", "id"} and FORGED in (value or ""):
                self.wrong.append(f"<{tag} {name}={value!r}>")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)

    def handle_comment(self, data: str) -> None:
        self.wrong.append(f"a comment: {data[:40]!r}")


def page_fault(html: str, sound: Skeleton) -> str:
    """What in a page differs from a sound one but for its texts."""
    seen = Skeleton(html)
    if seen.wrong:
        return f"the page has {seen.wrong[0]}"
    if others := seen.elements - sound.elements:
        return f"the page has other elements: {sorted(others)[:3]}"
    *values, script = seen.scripts
    try:
        same = (
            script.strip() == sound.scripts[-1].strip() and len([json.loads(value) for value in values]) == 2
        )
    except ValueError:
        same = False
    return "" if same else "the page has another script"


def text_fault(ended: Ended, *, terminal: bool, draws: bool) -> str:
    """What in the output was not escaped."""
    for name, packed in (("stdout", ended.out), ("stderr", ended.err)):
        try:
            text = packed.decode()
        except UnicodeDecodeError as error:
            return f"{name} is not UTF-8: {error.object[error.start - 20 : error.end + 20]!r}"
        if terminal:
            text = BAR.sub("", COLOURS.sub("", text) if draws else text)
        for c in text:
            if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
                at = text.index(c)
                return f"{name} has {c!r}: {text[max(0, at - 60) : at + 60]!r}"
        if re.search(rf"^\s*{FORGED}", text, re.MULTILINE):
            return f"{name} has a forged line: {text[-300:]!r}"
    return ""


def json_fault(ended: Ended, objects: int) -> str:
    """What is wrong with stdout under --json."""
    if not ended.out.isascii():
        return f"stdout is not ASCII: {ended.out[:200]!r}"
    found = ended.out.decode().splitlines()
    if len(found) > objects or (ended.code == 0 and len(found) != objects):
        return f"{len(found)} lines on stdout"
    for line in found:
        try:
            json.loads(line)
        except ValueError:
            return f"not JSON: {line[:200]!r}"
    return ""


def filled(arguments: list[str], text: str) -> list[str]:
    """Arguments with the text in place."""
    return [argument.replace("{}", text) for argument in arguments]


@dataclass(frozen=True)
class Try:
    """One string in one place through one command, and how."""

    place: Place
    text: str
    command: list[str]
    terminal: bool = False
    json: bool = False

    def __str__(self) -> str:
        how = " on a terminal" if self.terminal else ""
        return f"{self.place.name} {self.text!r}: {filled(self.command, self.text)}{how}"


def tries(every: list[Place]) -> Iterator[Try]:
    """Everything in every way."""
    for place in every:
        for command in place.commands:
            for text in [*PAYLOADS, *(MARKUP if command[0] == "report" else [])]:
                yield Try(place, text, command)
                yield Try(place, text, command, terminal=True)
                if command[0] in JSON and not {"--show", "--print-config", "--help", "--markdown"} & set(
                    command
                ):
                    yield Try(place, text, [*command, "--json"], json=True)


def prepared(forks: Forks, folder: Path, variables: dict[str, Any]) -> Skeleton:
    """Make the template; a sound page of it."""
    from PIL import Image, ImageOps

    template(forks, folder, variables)
    picture = (folder / "five.png").read_bytes()
    (folder / "broken.png").write_bytes(picture[:60])
    with Image.open(folder / "five.png") as opened:
        ImageOps.invert(opened).save(folder / "dark.png")
    forks.must("train", "--epochs", 1, "--data-dir", "data", "--out", "w.npy", cwd=folder, **variables)
    forks.must("report", "w.npy", "--data-dir", "data", cwd=folder, **variables)
    sound = Skeleton((folder / "report.html").read_text())
    (folder / "report.html").unlink()
    return sound


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """`count` strings in places, a tenth of them for pages and a tenth in answers of servers."""
    tally = Tally(notes={"pages": 0, "answers": 0, "refused": 0})
    server_answers = serving_strings()
    with Server(server_answers) as server, Forks() as forks:
        mirror = {"MNIST_SOFTMAX_CACHE_DIR": "cache", "MNIST_SOFTMAX_MIRROR": f"{server.url}good/"}
        sound = prepared(forks, folder / "template", mirror)
        every = list(tries(places()))
        reports = [each for each in every if each.command[0] == "report" and not each.terminal]
        chosen = rng.sample(every, min(len(every), count * 8 // 10)) + rng.sample(reports, count // 10)
        bases = sorted({path.split("/")[1] for path in server_answers} - {"good"})
        for base in rng.sample(bases, min(len(bases), count // 10)):
            number, kind = base.split("-", 1)
            urls = ["--mirror", f"{server.url}{base}/", "--mirror", f"{server.url}{base}/2/"]
            as_json = rng.random() < 0.3
            command = ["download", "--force", *urls, *(["--json"] if as_json else [])]
            where = Place(f"server's {kind.replace('_', ' ')}", nothing, [])
            chosen.append(
                Try(where, PAYLOADS[int(number)], command, rng.random() < 0.3 and not as_json, as_json)
            )
        for each in chosen:
            attempt(each, forks, folder, mirror, sound, tally)
    return tally


def attempt(
    each: Try, forks: Forks, folder: Path, mirror: Mapping[str, str], sound: Skeleton, tally: Tally
) -> None:
    """Run one and look at what it printed and wrote."""
    work = folder / "work"
    shutil.copytree(folder / "template", work, symlinks=True)
    try:
        try:
            each.place.prepare(work, each.text)
        except (OSError, ValueError):
            return  # no such name or text can be
        changed = {
            name.replace("{}", re.sub("[=\0]", "", each.text)): value.replace("{}", each.text)
            for name, value in each.place.variables.items()
        }
        environment: dict[str, Any] = {**mirror, "TERM": "xterm-256color", **changed}
        ended = forks.run(*filled(each.command, each.text), cwd=work, terminal=each.terminal, **environment)
        tally.done += 1
        tally.notes["refused"] += ended.code != 0
        tally.notes["answers"] += each.place.name.startswith("server")
        draws = "show" in each.command or "--show" in each.command
        wrong = ended.fault({0, 2, 3, 4, 5, 6, 7}, many="predict" in each.command)
        tally.expect(not wrong, f"{each}: {wrong}")
        wrong = text_fault(ended, terminal=each.terminal, draws=draws)
        tally.expect(not wrong, f"{each}: {wrong}")
        if each.json:
            objects = len(each.command) - 4 if each.command[0] == "predict" else 1  # --weights FILE, --json
            tally.expect(not (wrong := json_fault(ended, objects)), f"{each}: {wrong}")
        if "report" in each.command and ended.code == 0:
            tally.notes["pages"] += 1
            page = next(work.glob("*.html"))
            tally.expect(not (wrong := page_fault(page.read_text(), sound)), f"{each}: {wrong}")
    finally:
        shutil.rmtree(work)


def figure(tally: Tally) -> str:
    """The figure of the table."""
    return (
        f"{tally.done:,} strings in {len(places())} places ({tally.notes['answers']} in answers of servers, "
        f"{tally.notes['pages']} in pages; {tally.notes['refused']} refused): {len(tally.bad)} control characters, "
        "forged lines, wrong JSON, wrong codes, tracebacks, or strings out of their place in a page"
    )


ROW = Row(
    "terminal escapes, line breaks and markup in every string that is read",
    2400,
    run,
    figure,
    "class names, versions, folders and every other string of a receipt or checkpoint, .npy headers, names of files, "
    "arguments, configs, variables, the stamp, texts in pictures, and servers' answers, through every command that reads them: "
    "to a pipe, to a terminal, and under --json; the page of `report` is parsed and compared with a sound one",
)
