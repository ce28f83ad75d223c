"""The command line as a whole: help, imports, errors, names in the environment, streams, signals."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from cli.receipts import change
from cli.streams import run_on_full_disk, run_on_terminal
from conftest import Program, clean_environment, run_here, write_folder

import mnist_softmax
from mnist_softmax import errors
from mnist_softmax.cli import signals
from mnist_softmax.cli.main import COMMANDS, cli
from mnist_softmax.cli.types import SettingType

ROOT = Path(mnist_softmax.__file__).parent.parent
SAMPLE = ("--dataset", "mnist-sample")
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX shells and signals")
dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


def python(code: str) -> Any:
    """Run some Python in a process of its own."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_no_help_imports_numpy_or_requests_or_tqdm() -> None:
    code = (
        "import sys\n"
        "from mnist_softmax.cli import main\n"
        "for name in ('', *main.COMMANDS):\n"
        "    sys.argv = ['mnist-softmax', *name.split(), '--help']\n"
        "    assert main._run() == 0\n"
        "    print(name, {'numpy', 'requests', 'tqdm', 'filelock', 'dask', 'distributed'} & set(sys.modules), file=sys.stderr)"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [f"{name} set()" for name in ("", *COMMANDS)]
    assert done.stdout.count("Usage: mnist-softmax") == 1 + len(COMMANDS)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_help_has_a_short_flag_and_ends_with_an_example_of_known_options(
    program: Program, name: str
) -> None:
    done = program(*name.split(), "-h")
    assert done == program(*name.split(), "--help")
    assert (done.code, done.err) == (0, "")
    example = done.out[done.out.index("Example:") :]
    assert "Options:" not in example
    lines = [line.split() for line in example.splitlines()[1:]]
    assert lines
    for program_name, command, *words in lines:
        assert program_name == "mnist-softmax"
        used = cli.get_command(click.Context(cli), command)
        assert used is not None
        options = {option for param in used.params for option in param.opts}
        assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_parameter_and_says_each_range_in_words(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for param in command.params:
        if isinstance(param, click.Argument):
            for word in (param.metavar or str(param.name).upper()).strip(".").split("|"):
                assert word in (command.help or "")
            continue
        assert isinstance(param, click.Option)
        kind = getattr(param.type, "element", param.type)
        assert not isinstance(kind, click.IntRange | click.FloatRange), "their help has signs for words"
        limits = kind.setting.limits if isinstance(kind, SettingType) else ""
        assert (param.help or "").rstrip().endswith(".")
        assert limits in (param.help or ""), param.name


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
        (["train", "--lr"], "option '--lr' requires an argument; try"),
        (["train", "--json=1"], "option '--json' does not take a value; try"),
        (["train", "extra"], "got unexpected extra argument (extra); try 'mnist-softmax train --help'"),
        (["eval", "missing.npy"], "no such file: missing.npy"),
        (["predict"], "missing argument IMAGE|FOLDER...; try 'mnist-softmax predict --help'"),
        (["train", *SAMPLE, "--data-dir", "x"], "exclude each other"),
        (["train", "--data-dir", "missing"], "no such folder: missing"),
        (["train", "--out", "missing/w.npy"], "no such folder: missing"),
        (["train", "--log", "missing/log"], "no such folder: missing"),
        (["train", *SAMPLE, "--val-size", "10000"], "--val-size"),
        (["download", "--from", "x", "--mirror", "http://127.0.0.1/"], "exclude each other"),
        (["download", "--mirror", "ftp://127.0.0.1/"], "ftp://127.0.0.1/"),
        (["download", "http://user:pw@h/"], "http://...@h/"),
        (["download", "--from", "http://user:p@w@h/"], "http:/...@h"),
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
    ("option", "values"),
    [
        ("--lr", ["-1", "0", "nan", "inf", "abc", "1e999"]),
        ("--reg", ["-0.1", "nan"]),
        ("--momentum", ["1", "-0.1"]),
        ("--epochs", ["0", "2.7", "100001", str(10**309)]),
        ("--batch-size", ["0"]),
        ("--seed", ["-1", str(2**63)]),
        ("--val-size", ["-1"]),
        ("--schedule", ["linear"]),
        ("--dataset", ["cifar"]),
    ],
)
def test_a_wrong_value_is_exit_2_and_names_the_option(
    program: Program, option: str, values: list[str]
) -> None:
    for value in values:
        done = program("train", option, value)
        assert (done.code, done.err.count("\n")) == (2, 1), value
        assert option in done.error
        environment: Any = {f"MNIST_SOFTMAX_TRAIN_{option[2:].upper().replace('-', '_')}": value}
        assert program("train", **environment).code == 2, value


def test_offline_with_an_empty_cache_is_exit_3(program: Program) -> None:
    done = program("train", "--offline")
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert program("train", MNIST_SOFTMAX_OFFLINE=1).code == 3


def test_every_option_has_a_variable_under_its_own_name(
    program: Program, stage: Path, tmp_path: Path
) -> None:
    assert json.loads(program("eval", "w.npy", cwd=stage, MNIST_SOFTMAX_EVAL_JSON=1).out)["rows"] == 2000
    done = program(
        "download", "--dataset", "kmnist", "--offline", MNIST_SOFTMAX_DOWNLOAD_FROM=tmp_path / "none"
    )
    assert done.code == 2


def test_exceptions_have_the_exit_codes_of_the_readme() -> None:
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


def test_a_warning_is_one_line_whatever_the_path_holds(program: Program, stage: Path, tmp_path: Path) -> None:
    shutil.copy(stage / "w.npy", tmp_path / "a\nb.npy")
    done = program("eval", "a\nb.npy", "--dataset", "mnist", "--offline")
    warning, error = done.err.splitlines()
    assert warning.startswith("mnist-softmax: warning: ")
    assert warning.endswith("a\\nb.npy")
    assert error.startswith("mnist-softmax: error: ")


def test_a_bug_keeps_its_traceback() -> None:
    code = "from mnist_softmax.cli import main, output\noutput.prepare_streams = lambda: 1 / 0\nmain.main()"
    done = python(code)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


# Every command ------------------------------------------------------------------------------------------------------

SMOKE = ("train", *SAMPLE, "--epochs", "1", "--out", "w.npy")
EVERY_COMMAND: dict[str, tuple[str, ...]] = {
    "quickstart": ("--offline",),
    "download": SAMPLE,
    "train": SMOKE[1:],
    "eval": ("w.npy",),
    "predict": ("--weights", "w.npy", "digit.png"),
    "show": ("w.npy",),
    "report": ("w.npy",),
    "compare": ("w.npy", "w.npy"),
    "sweep": (*SAMPLE, "--epochs", "1", "--lr", "0.1,0.2"),
    "reproduce": ("w.npy",),
    "gradcheck": (*SAMPLE, "--rows", "8"),
    "info": ("w.npy",),
    "export": ("w.npy",),
    "completion": ("bash",),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands read."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("stage")
    assert run_here(SMOKE, folder).code == 0
    digit = Image.new("L", (28, 28))
    digit.paste(255, (12, 6, 16, 22))
    digit.save(folder / "digit.png")
    return folder


def test_no_command_is_left_out_here() -> None:
    assert list(EVERY_COMMAND) == list(COMMANDS)


@dev_full
@pytest.mark.parametrize(
    "arguments",
    [
        *([name, *rest] for name, rest in EVERY_COMMAND.items()),
        ["--help"],
        ["train", "--help"],
        ["--version"],
    ],
    ids=" ".join,
)
def test_a_full_stdout_is_exit_5(stage: Path, arguments: list[str]) -> None:
    code, err = run_on_full_disk(*arguments, cwd=stage)
    assert code == 5
    assert err.splitlines()[-1].startswith("mnist-softmax: error: cannot write: stdout")
    assert err.count("error") == 1


@posix
@pytest.mark.parametrize("arguments", [[name, *rest] for name, rest in EVERY_COMMAND.items()], ids=" ".join)
def test_quiet_prints_the_same_results_and_nothing_else(
    stage: Path, tmp_path: Path, arguments: list[str]
) -> None:
    shutil.copytree(stage, tmp_path, dirs_exist_ok=True)
    # Every command warns of the variable.
    environment: Any = {"MNIST_SOFTMAX_CACHE_DIR": str(tmp_path / "cache"), "MNIST_SOFTMAX_XYZ": "1"}
    runs = [
        run_on_terminal(*arguments, *flags, cwd=tmp_path, stream="stderr", **environment)
        for flags in ([], ["--quiet"], ["-q"])
    ]
    assert [seen.code for seen in runs] == [0, 0, 0]
    assert "warning: unknown variable" in runs[0].terminal
    assert [seen.terminal for seen in runs[1:]] == ["", ""]
    results = [re.sub(r"\d+\.\d\d s\b", "", seen.beside) for seen in runs]
    assert results[0]
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["train", "--offline"], 3), (["train", "--lr", "x"], 2), (["eval", "w.npy", "--min-accuracy", "1"], 7)],
    ids=["fetching", "usage", "gate"],
)
def test_quiet_leaves_an_error_as_its_one_line(
    program: Program, stage: Path, arguments: list[str], code: int
) -> None:
    quiet = program(*arguments, "-q", cwd=stage)
    assert quiet == program(*arguments, cwd=stage)
    assert (quiet.code, quiet.err.count("\n")) == (code, 1)


def test_quiet_leaves_the_errors_of_all_pictures(program: Program, stage: Path) -> None:
    arguments = ("predict", "--weights", "w.npy", "a.png", "digit.png", "b.png")
    quiet = program(*arguments, "--quiet", cwd=stage)
    assert quiet == program(*arguments, cwd=stage)
    assert [line.rpartition(" ")[2] for line in quiet.err.splitlines()] == ["a.png", "b.png"]


def test_quiet_is_set_by_the_environment_and_by_a_config_too(program: Program, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("quiet = true\n")
    train = SMOKE[:-2]
    assert program(*train).err
    assert program(*train, "--config", "c.toml").err == ""
    assert program(*train, MNIST_SOFTMAX_QUIET=1).err == ""
    assert program(*train, MNIST_SOFTMAX_TRAIN_QUIET=1).err == ""
    assert program(*train, MNIST_SOFTMAX_QUIET=1, MNIST_SOFTMAX_TRAIN_QUIET=0).err
    printed = program("train", "--config", "c.toml", "--print-config", MNIST_SOFTMAX_XYZ=1)
    assert ("quiet = true" in printed.out.splitlines(), printed.err) == (True, "")


ESCAPES = ["\x1b[31mred", "\r\x9bgreen", "\u202eblue", *"3456789"]


@pytest.mark.parametrize(
    "arguments",
    [
        [name, *EVERY_COMMAND[name]]
        for name in ("eval", "predict", "show", "report", "compare", "reproduce", "info")
    ]
    + [["show", "w.npy", "--index", "0"], ["show", "w.npy", "--mistakes"]],
    ids=" ".join,
)
def test_no_control_character_of_a_class_name_reaches_the_terminal(
    stage: Path, tmp_path: Path, arguments: list[str]
) -> None:
    for name in ("w.npy", "digit.png"):
        shutil.copy(stage / name, tmp_path)
    change(tmp_path / "w.npy", class_names=ESCAPES)
    done = run_here(arguments, tmp_path)
    assert done.code == (7 if arguments[0] == "reproduce" else 0)  # training gives other names
    for text in (done.out, done.err):
        assert all(line.isprintable() for line in text.split("\n"))


def test_nothing_but_text_goes_to_a_file(program: Program) -> None:
    done = program("train", *SAMPLE, "--epochs", 2)
    assert done.code == 0
    for stream in (done.out, done.err):
        assert stream.isascii()
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", stream), "no bar, no colour, no carriage return"
    assert len(done.out.splitlines()) == 1
    assert len(done.err.splitlines()) == 2


@posix
@pytest.mark.parametrize(
    ("arguments", "line"),
    [(SMOKE, "epoch 1/1"), (("sweep", *EVERY_COMMAND["sweep"]), "2 models")],
    ids=["train", "sweep"],
)
def test_a_bar_is_drawn_on_a_terminal_only(tmp_path: Path, arguments: tuple[str, ...], line: str) -> None:
    seen = run_on_terminal(*arguments, cwd=tmp_path, stream="stderr")
    assert seen.code == 0
    assert "%|" in seen.terminal
    assert line in seen.terminal
    assert "%|" not in seen.beside
    assert seen.beside


# Streams of a process -----------------------------------------------------------------------------------------------


def shell(line: str, folder: Path, **environment: Any) -> Any:
    """Run a line of bash, in which PROGRAM is the program."""
    return subprocess.run(
        ["bash", "-c", line.replace("PROGRAM", f'"{sys.executable}" -m mnist_softmax')],
        cwd=folder,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )


@posix
@pytest.mark.parametrize(
    "line",
    [
        "PROGRAM train --dataset mnist-sample --epochs 1 --out x.npy >&-",
        "PROGRAM --help >&-",
        pytest.param("PROGRAM --help >/dev/full", marks=dev_full),
        # What was found out has not been told: that matters more than a missed gate.
        pytest.param("PROGRAM eval w.npy --min-accuracy 0.99 >/dev/full", marks=dev_full),
    ],
)
def test_a_process_with_a_full_or_closed_stdout_says_so_once_and_ends(stage: Path, line: str) -> None:
    done = shell(line, stage)
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("mnist-softmax: error: cannot write: stdout")
    assert done.stderr.count("\n") == 1, "no traceback, no exception ignored"


@posix
def test_a_broken_pipe_is_silent_and_ends_by_sigpipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "mnist_softmax", "--help"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


@posix
@pytest.mark.parametrize("stderr", ["2>&-", pytest.param("2>/dev/full", marks=dev_full)])
def test_a_closed_or_full_stderr_stops_nothing(tmp_path: Path, stderr: str) -> None:
    done = shell(f"PROGRAM {' '.join(SMOKE)} --json {stderr}", tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("{")


@posix
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_does_not_block_is_waited_for_and_gets_everything(stream: str) -> None:
    code = (
        "import sys\nfrom mnist_softmax.cli import output\noutput.prepare_streams()\n"
        f"print('x' * 1_000_000, file=sys.{stream})\nsys.{stream}.flush()\n"
    )
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with subprocess.Popen([sys.executable, "-c", code], **{stream: theirs}) as process:  # type: ignore[call-overload]
        os.close(theirs)
        time.sleep(2)  # the pipe is full
        with open(ours, "rb") as reader:
            assert reader.read() == b"x" * 1_000_000 + b"\n"
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert used.ru_utime + used.ru_stime < 1, "it must sleep while it waits"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "not enough memory"),
        (
            MemoryError("Unable to allocate 5 GiB for an array"),
            "not enough memory: got Unable to allocate 5 GiB for an array",
        ),
        (
            RuntimeError("can't start new thread"),
            "cannot start a thread: got a limit on processes, or no memory",
        ),
        (
            ImportError("libx.so: failed to map segment from shared object"),
            "not enough memory: got a library that could not be loaded",
        ),
    ],
)
def test_a_refusal_of_the_system_anywhere_is_exit_5_and_one_line(
    error: Exception, message: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("mnist_softmax.data.open.open_split", refuse)
    done = program("train", "--dataset", "mnist-sample")
    assert (done.code, done.err) == (5, f"mnist-softmax: error: {message}\n")


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ImportError("a bug"), ValueError("a bug")])
def test_an_exception_of_the_same_kind_that_is_a_bug_is_not_caught(
    error: Exception, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("mnist_softmax.data.open.open_split", fail)
    with pytest.raises(type(error), match="a bug"):
        program("train", "--dataset", "mnist-sample")


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
    done = shell(
        f"PROGRAM train --epochs 1 --data-dir '{folder}' --out '{folder}/w.npy'", tmp_path, **environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert run_here(["info", folder / "w.npy"], tmp_path).code == 0


@posix
def test_a_config_may_hold_a_path_that_this_locale_cannot_name(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('out = "donn\u00e9es.npy"', encoding="utf-8")
    done = shell("PROGRAM train --config c.toml", tmp_path, LC_ALL="C", PYTHONUTF8="0")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert r"expected a path, got 'donn\xe9es.npy'" in done.stderr


@posix
@pytest.mark.parametrize(
    "line",
    [
        "eval w.npy --json --predictions o > o",
        "eval w.npy --json --predictions /dev/stdout > o",
        "compare w.npy w.npy --differences o --json > o",
        "report w.npy -o o > o",
        "train --dataset mnist-sample --log o --out x.npy 2> o",
        "train --dataset mnist-sample --out o > o",
        "sweep --dataset mnist-sample --out o > o",
    ],
)
def test_no_output_takes_the_place_of_what_is_printed(program: Program, tmp_path: Path, line: str) -> None:
    assert program("train", "--dataset", "mnist-sample", "--epochs", 1, "--out", "w.npy").code == 0
    done = shell(f"PROGRAM {line}", tmp_path)
    assert done.returncode == 2
    assert "the command already uses this file" in done.stderr + (tmp_path / "o").read_text()
    assert not (tmp_path / "x.npy").exists()


# Signals ------------------------------------------------------------------------------------------------------------

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
every_signal = pytest.mark.parametrize(
    "number", [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
)


@posix
@every_signal
def test_a_signal_ends_training_by_that_signal_and_keeps_a_checkpoint(tmp_path: Path, number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "mnist_softmax", *SMOKE, "--epochs", "100000"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("epoch 1/")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == -number
    assert out == ""
    *epochs, last = err.splitlines()
    assert all(line.startswith("epoch ") for line in epochs)
    assert re.fullmatch(
        r"mnist-softmax: warning: stopped; --resume goes on from epoch \d+: w\.npy\.checkpoint", last
    )
    assert [path.name for path in tmp_path.iterdir()] == ["w.npy.checkpoint"]


@posix
@every_signal
def test_a_signal_while_the_program_is_being_loaded_is_silent(tmp_path: Path, number: int) -> None:
    # The first thing outside the standard library that is loaded sends it.
    (tmp_path / "click.py").write_text(f"import os\nos.kill(os.getpid(), {int(number)})\n")
    done = subprocess.run(
        [sys.executable, "-m", "mnist_softmax", "--version"],
        env=clean_environment(PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)])),
        capture_output=True,
        text=True,
        timeout=60,
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
WRAPPED = """
class Sends:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), NUMBER)
        for _ in range(1000): pass
def prepare():
    class Owner:
        attribute = Sends()
"""
HANGING = """
signals._CLEAN_UP_SECONDS = 0.05
def prepare():
    try:
        os.kill(os.getpid(), NUMBER)
        time.sleep(10)
    finally:
        while True: time.sleep(1)
"""


@posix
@every_signal
@pytest.mark.parametrize(
    "where",
    [DROPPED, WRAPPED, HANGING],
    ids=["where exceptions are dropped", "where they are wrapped", "and cleaning up hangs"],
)
def test_a_signal_ends_the_program_even(where: str, number: int) -> None:
    code = "import os, time\nfrom mnist_softmax.cli import main, output, signals\n"
    code += where.replace("NUMBER", str(int(number))) + "\noutput.prepare_streams = prepare\nmain.main()"
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (-number, "", "")


def test_cleaning_up_may_take_less_than_two_seconds() -> None:
    assert 0 < signals._CLEAN_UP_SECONDS < 2


@posix
def test_an_ignored_sigint_stays_ignored(tmp_path: Path) -> None:
    # As after "command &" in a shell script, or under nohup.
    done = shell("trap '' INT; PROGRAM --version & p=$!; kill -INT $p; wait $p", tmp_path)
    assert done.returncode == 0
