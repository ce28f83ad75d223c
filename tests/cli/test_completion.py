"""Completion, typed on a terminal in bash, zsh and fish; and how fast it is."""

import os
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Program, clean_environment

#: Of each shell, how it is started and what is typed first.
SHELLS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        """bind 'set show-all-if-ambiguous on'; eval "$(mnist-softmax completion bash)" """,
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        """autoload -Uz compinit; compinit -u -D; unsetopt listambiguous; eval "$(mnist-softmax completion zsh)" """,
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        "set -g fish_autosuggestion_enabled 0; mnist-softmax completion fish | source",
    ),
}

#: The program, if it is asked for completions or their script; else it prints the words that it was given.
PROGRAM = """#!/bin/sh
if [ -n "$_MNIST_SOFTMAX_COMPLETE" ] || [ "$1" = completion ]; then
    exec "PYTHON" -m mnist_softmax "$@"
fi
printf '<%s>' "$@"
echo
"""


class Terminal:
    """A shell on a terminal of its own."""

    def __init__(self, command: list[str], folder: Path, environment: Any) -> None:
        # In a process of its own: to fork this one, which may have threads, is not safe.
        spawn = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", *command]
        self.process = subprocess.Popen(
            spawn,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.marks = 0

    def typed(self, keys: str, *expected: str, seconds: float = 30) -> str:
        """Type some keys and wait until all that is expected has appeared; return what did, without codes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(keys.encode())
        self.process.stdin.flush()
        shown, end = b"", time.monotonic() + seconds
        while True:
            text = re.sub(
                r"\x1b(\[[0-9;?>=]*[ -/]*[@-~]|[()].|[=>78]|\][^\a\x1b]*(\a|\x1b\\))",
                "",
                shown.decode(errors="replace"),
            )
            if all(part in text for part in expected):
                return text
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            assert ready, f"{expected} did not appear after {keys!r}: {text!r}"
            read = os.read(self.process.stdout.fileno(), 65536)
            assert read, f"the shell ended: {text!r}"
            shown += read

    def done(self) -> str:
        """Drop what is typed; return what appeared meanwhile."""
        self.marks += 1
        return self.typed(f"\x15echo mark''{self.marks}\r", f"mark{self.marks}")


@pytest.fixture(params=SHELLS)
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    """A shell that completes, in a folder with some files."""
    command, script = SHELLS[request.param]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    program = tmp_path / "bin" / "mnist-softmax"
    program.parent.mkdir()
    program.write_text(PROGRAM.replace("PYTHON", sys.executable))
    program.chmod(0o755)
    folder = tmp_path / "here"
    (folder / "runs").mkdir(parents=True)
    for name in ("small.npy", "large model.npy", "notes.txt", "runs/inner.npy", "settings.toml"):
        (folder / name).touch()
    environment = clean_environment(
        PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        HOME=tmp_path,
        TERM="xterm",
        PS1="$ ",
        LC_ALL="C.UTF-8",
    )
    shell = Terminal(command, folder, environment)
    try:
        shell.typed(f"stty rows 50 cols 160; {script}; echo rea''dy\r", "ready")
        yield shell
    finally:
        for pipe in (shell.process.stdin, shell.process.stdout):
            assert pipe is not None
            pipe.close()
        shell.process.kill()
        shell.process.wait()


def test_tab_completes_commands_options_datasets_and_files(terminal: Terminal) -> None:
    for typed, given in (
        ("quicks\t", "<quickstart>"),
        ("train --mom\t0.5", "<train><--momentum><0.5>"),
        ("train --dataset fa\t", "<train><--dataset><fashion-mnist>"),
        ("train --schedule con\t--qui\t", "<train><--schedule><constant><--quiet>"),
        ("eval sm\t", "<eval><small.npy>"),
        ("eval la\t", "<eval><large model.npy>"),
        ("eval ru\tin\t--js\t", "<eval><runs/inner.npy><--json>"),
        ("eval ~/he\tsm\t", "here/small.npy>"),
        ("compare small.npy la\t", "<compare><small.npy><large model.npy>"),
        ("train --out sm\t", "<train><--out><small.npy>"),
        ("train --config se\t", "<train><--config><settings.toml>"),
        ("train --data-dir r\t", "<train><--data-dir><runs"),
        ("predict no\t", "<predict><notes.txt>"),
    ):
        terminal.typed(f"mnist-softmax {typed}\r", given)
        terminal.done()


@pytest.mark.parametrize(
    ("typed", "listed", "left_out"),
    [
        ("re", ["report", "reproduce"], ["quickstart"]),
        ("train --re", ["--reg", "--resume"], ["--seed"]),
        ("eval --dataset ", ["mnist", "kmnist", "mnist-sample"], ["--json"]),
        ("eval ", ["small.npy", "large", "runs/"], ["notes", "settings"]),
    ],
    ids=["commands", "options", "datasets", "weights"],
)
def test_tab_lists_what_there_is(
    terminal: Terminal, typed: str, listed: list[str], left_out: list[str]
) -> None:
    seen = terminal.typed(f"mnist-softmax {typed}\t", *listed) + terminal.done()
    assert not [word for word in left_out if word in seen]


@pytest.mark.parametrize("words", ["", "tr", "train --lr 1 --", "eval w", "train --dataset ", "report --"])
def test_completing_loads_neither_numpy_nor_the_network(words: str) -> None:
    code = (
        "import sys\nfrom mnist_softmax.cli import main\n"
        "try:\n    main._run()\nexcept SystemExit:\n    pass\n"
        "print({'numpy', 'requests', 'tqdm', 'msgspec'} & set(sys.modules), file=sys.stderr)"
    )
    line = f"mnist-softmax {words}"
    environment = clean_environment(
        _MNIST_SOFTMAX_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=len(line.split(" ")) - 1
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert done.stdout


def test_another_shell_is_wrong_usage(program: Program) -> None:
    done = program("completion", "tcsh")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in done.error
