"""The command line as a whole: help, imports, errors, streams, signals; and the order of the package."""

import ast
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from conftest import Program, clean_environment, write_folder

import mnist_softmax
from mnist_softmax import errors
from mnist_softmax.cli.main import COMMANDS, cli

PACKAGE = Path(mnist_softmax.__file__).parent
ROOT = PACKAGE.parent

#: What DESIGN calls the layout: a module imports only from what stands before it.
ORDER = (
    *("errors", "files", "softmax", "idx", "datasets", "transfer", "download", "unpack", "cache"),
    *("blas", "data", "deskew", "preprocess", "prepare", "pictures", "metrics", "compare", "draw"),
    *("shuffle", "train", "numeric", "gradcheck", "weights", "checkpoint", "run", "sweep", "reproduce"),
)


def imports_of(path: Path) -> Any:
    """Modules of the package that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mnist_softmax"):
            rest = node.module.removeprefix("mnist_softmax").strip(".")
            yield from [rest.split(".")[0]] if rest else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("mnist_softmax.")]
            yield from (name.split(".")[1] for name in names)


@pytest.mark.parametrize("module", ORDER)
def test_a_module_imports_only_from_what_stands_before_it(module: Any) -> None:
    allowed = {*ORDER[: ORDER.index(module)], "__version__"}
    assert set(imports_of(PACKAGE / f"{module}.py")) <= allowed


def test_every_module_has_its_place_in_the_order() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {*ORDER, "__init__", "__main__"}


def test_only_the_command_line_imports_click_and_tqdm_prints_or_exits() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "cli" or path.stem == "make":
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"^\s*(from|import) (click|tqdm)|^\s*print\(|sys\.exit|sys\.stdout", text, re.MULTILINE
        ), path


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_imports_neither_numpy_nor_requests_nor_tqdm(command: Any, flag: Any) -> None:
    code = (
        "import sys; sys.argv = ['mnist-softmax', *sys.argv[1:]]\n"
        "from mnist_softmax.cli.main import main\n"
        "try: main()\n"
        "finally: print(sorted({'numpy', 'requests', 'tqdm', 'filelock'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split(), flag], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "[]"
    assert done.stdout.startswith("Usage: mnist-softmax")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_help_ends_with_an_example_that_names_known_options(name: str) -> None:
    # click keeps the first help option it makes, so the context must be that of the program.
    context = click.Context(cli, info_name="mnist-softmax", **cli.context_settings)
    text = cli.get_help(context)
    if name:
        command = cli.get_command(context, name)
        assert command is not None
        text = command.get_help(click.Context(command, info_name=name, parent=context))
    example = text[text.index("Example:") :]
    assert "Options:" not in example
    lines = [line.split() for line in example.splitlines()[1:]]
    assert all(words[0] == "mnist-softmax" for words in lines)
    for words in lines:
        used = cli.get_command(context, words[1])
        assert used is not None
        options = {option for param in used.params for option in param.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_the_command_reference_is_up_to_date() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from generate_cli import cli_reference
    finally:
        sys.path.pop(0)
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == cli_reference(), "run make docs"


def test_version_is_that_of_the_package(program: Program) -> None:
    assert program("--version").out == f"mnist-softmax, version {mnist_softmax.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing command"),
        (["trian"], "No such command 'trian'"),
        (["train", "--lrr", "1"], "No such option"),
        (["train", "--lr"], "--lr"),
        (["train", "extra"], "unexpected extra argument"),
        (["eval", "missing.npy"], "no such file: missing.npy"),
        (["train", "--dataset", "mnist-sample", "--data-dir", "x"], "exclude each other"),
        (["train", "--data-dir", "missing"], "no such folder: missing"),
        (["train", "--out", "missing/w.npy"], "no such folder: missing"),
        (["train", "--out", "w.json"], "json"),
        (["train", "--log", "missing/log"], "no such folder: missing"),
        (["train", "--dataset", "mnist-sample", "--val-size", "10000"], "--val-size"),
        (["download", "--from", "x", "--mirror", "http://127.0.0.1/"], "exclude each other"),
        (["download", "--mirror", "ftp://127.0.0.1/"], "ftp://127.0.0.1/"),
        (["download", "--from", "missing"], "missing"),
    ],
)
def test_wrong_usage_is_exit_2_and_one_line_that_names_it(
    program: Program, arguments: Any, words: str
) -> None:
    done = program(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("mnist-softmax: error: ")
    assert done.err.count("\n") == 1
    assert words in done.err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--lr", "-1"),
        ("--lr", "0"),
        ("--lr", "nan"),
        ("--lr", "inf"),
        ("--lr", "abc"),
        ("--lr", "1e999"),
        ("--reg", "-0.1"),
        ("--reg", "nan"),
        ("--momentum", "1"),
        ("--momentum", "-0.1"),
        ("--epochs", "0"),
        ("--epochs", "2.7"),
        ("--batch-size", "0"),
        ("--seed", "-1"),
        ("--val-size", "-1"),
        ("--schedule", "linear"),
        ("--dataset", "cifar"),
    ],
)
def test_a_wrong_value_is_exit_2_and_names_the_option(program: Program, option: Any, value: Any) -> None:
    done = program("train", option, value)
    assert done.code == 2
    assert option in done.error
    assert done.err.count("\n") == 1
    environment = {f"MNIST_SOFTMAX_TRAIN_{option[2:].upper().replace('-', '_')}": value}
    assert program("train", **environment).code == 2


def test_offline_with_an_empty_cache_is_exit_3(program: Program) -> None:
    done = program("train", "--offline")
    assert done.code == 3
    assert done.err.count("\n") == 1
    assert program("train", MNIST_SOFTMAX_OFFLINE=1).code == 3


def test_exceptions_have_the_exit_codes_of_the_design() -> None:
    codes = {kind.__name__: kind.exit_code for kind in errors.MnistSoftmaxError.__subclasses__()}
    assert codes == {
        "UsageError": 2,
        "DownloadError": 3,
        "DataError": 4,
        "LocalIOError": 5,
        "WeightsError": 6,
        "GateError": 7,
    }


def test_a_message_is_one_line_whatever_is_in_it() -> None:
    error = errors.DataError("bad\nnews", "a\x1b[31m\rname", expected="x", got="y\u2028", remedy="try z")
    assert str(error) == "bad\\nnews: a\\x1b[31m\\rname: expected x, got y\\u2028; try z"


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    code = "from mnist_softmax.cli import main, output\noutput.prepare_streams = lambda: 1 / 0\nmain.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


# Streams ------------------------------------------------------------------------------------------------------------

SMOKE = "train --dataset mnist-sample --epochs 1 --out w.npy"
EVERY_COMMAND = (
    SMOKE,
    "quickstart --offline",
    "download --dataset mnist-sample",
    "eval w.npy",
    "sweep --dataset mnist-sample --epochs 1 --lr 0.1,0.2",
)
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX shells and signals")


def shell(line: Any, folder: Path, **environment: Any) -> Any:
    program = f"{sys.executable} -m mnist_softmax"
    return subprocess.run(
        ["bash", "-c", line.replace("PROGRAM", program)],
        cwd=folder,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )


@posix
@pytest.mark.parametrize("what", [*EVERY_COMMAND, "--help", "train --help", "--version"])
@pytest.mark.parametrize("stdout", [">/dev/full", ">&-"])
def test_a_full_or_closed_stdout_is_exit_5(tmp_path: Path, what: Any, stdout: Any) -> None:
    if stdout == ">/dev/full" and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    if what == "eval w.npy":
        shell(f"PROGRAM {SMOKE}", tmp_path)
    done = shell(f"PROGRAM {what} {stdout}", tmp_path)
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1].startswith("mnist-softmax: error: cannot write: stdout")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@posix
def test_a_broken_pipe_is_silent_and_ends_by_sigpipe(tmp_path: Path) -> None:
    # The reader is gone before the program writes: it waits for a file that the reader leaves.
    done = shell("{ sleep 0.5; PROGRAM --help; echo $? >code; } | true; sleep 1.5; cat code >&2", tmp_path)
    deadline = time.monotonic() + 20
    while not (tmp_path / "code").exists() or not (tmp_path / "code").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (tmp_path / "code").read_text() == "141\n"
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@posix
def test_a_closed_or_full_stderr_stops_nothing(tmp_path: Path) -> None:
    for stderr in ("2>&-", "2>/dev/full" if Path("/dev/full").exists() else "2>&-"):
        done = shell(f"PROGRAM {SMOKE} --json {stderr}", tmp_path)
        assert done.returncode == 0
        assert done.stdout.startswith("{")


@posix
@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C"},
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0"},
    ],
)
def test_any_encoding_will_do(tmp_path: Path, environment: Any) -> None:
    folder = tmp_path / "donn\u00e9es-\u624b"
    write_folder(folder, "train")
    write_folder(folder, "test")
    done = shell(
        f"PROGRAM train --data-dir '{folder}' --out '{folder}/w.npy' && PROGRAM eval '{folder}/w.npy'",
        tmp_path,
        **environment,
    )
    assert done.returncode == 0, done.stderr


def test_nothing_but_text_goes_to_a_file(program: Program) -> None:
    done = program("train", "--dataset", "mnist-sample", "--epochs", 2)
    assert done.code == 0
    for stream in (done.out, done.err):
        assert stream.isascii()
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", stream), "no bar, no colour, no carriage return"
    assert len(done.out.splitlines()) == 1
    assert len(done.err.splitlines()) == 2


@posix
@pytest.mark.parametrize(
    ("arguments", "line"),
    [(f"{SMOKE} --epochs 200", b"epoch 200/200"), ("sweep --dataset mnist-sample --lr 0.1,0.2", b"2 models")],
)
def test_a_bar_is_drawn_on_a_terminal_only(tmp_path: Path, arguments: str, line: bytes) -> None:
    import fcntl
    import pty
    import struct
    import termios

    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "mnist_softmax", *arguments.split()],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=child,
    )
    os.close(child)
    seen = b""
    while True:
        try:
            chunk = os.read(parent, 65536)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    out = process.communicate()[0]
    os.close(parent)
    assert process.returncode == 0
    assert b"%|" in seen
    assert line in seen
    assert b"%|" not in out


# Signals ------------------------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_by_that_signal_and_keeps_a_checkpoint(tmp_path: Path, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "mnist_softmax", *SMOKE.split(), "--epochs", "100000"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline().startswith("epoch 1/")
    time.sleep(0.2)
    started = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert time.monotonic() - started < 4
    assert process.returncode == -number
    assert out == ""
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["w.npy.checkpoint"]


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_program_is_being_loaded_is_silent(tmp_path: Path, number: int) -> None:
    # The first thing outside the standard library that is loaded sends it.
    (tmp_path / "click.py").write_text(f"import os\nos.kill(os.getpid(), {int(number)})\n")
    done = subprocess.run(
        [sys.executable, "-m", "mnist_softmax", "--version"],
        env=clean_environment(PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)])),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-number, "", "")


DROPPED = """
class Dropping:
    def __del__(self):
        os.kill(os.getpid(), NUMBER)
        for _ in range(1000): pass
def prepare():
    Dropping()
    time.sleep(10)
"""
HANGING = """
def prepare():
    try:
        os.kill(os.getpid(), NUMBER)
        time.sleep(10)
    finally:
        time.sleep(10)
"""


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "where", [DROPPED, HANGING], ids=["where exceptions are dropped", "and cleaning up hangs"]
)
def test_a_signal_ends_the_program_even(where: str, number: int) -> None:
    code = "import os, time\nfrom mnist_softmax.cli import main, output\n"
    code += where.replace("NUMBER", str(int(number))) + "\noutput.prepare_streams = prepare\nmain.main()"
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert time.monotonic() - started < 6  # the promise is 2 seconds, on a machine of its own
    assert (done.returncode, done.stdout, done.stderr) == (-number, "", "")


@posix
def test_an_ignored_sigint_stays_ignored(tmp_path: Path) -> None:
    # As after "command &" in a shell script, or under nohup.
    done = shell("trap '' INT; PROGRAM --version & p=$!; kill -INT $p; wait $p", tmp_path)
    assert done.returncode == 0
