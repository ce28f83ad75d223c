"""How usage errors are worded, what they suggest, and which paths and variables are refused or warned about."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished, Program, clean_environment

from mnist_softmax.cli.main import COMMANDS
from mnist_softmax.data.catalog import DATASETS

PATHS = ("--config", "--out", "--log", "--data-dir", "--cache-dir")


def refused(done: Finished) -> str:
    """The message of a usage error, which is all that was printed."""
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    return done.err.removeprefix("mnist-softmax: error: ").rstrip("\n")


def test_the_bare_program_prints_its_help(program: Program) -> None:
    assert program() == program("--help")
    assert program().out.startswith("Usage: mnist-softmax")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tran", "no such command 'tran'; did you mean 'train'?"),
        ("TRAIN", "no such command 'TRAIN'; did you mean 'train'?"),
        ("rep", "no such command 'rep'; did you mean 'report'?"),
        ("xyz", "no such command 'xyz'; try 'mnist-softmax --help'"),
        ("--verson", "no such option '--verson'; did you mean '--version'?"),
        ("train --lrr 1", "no such option '--lrr'; did you mean '--lr'?"),
        ("train --LR 1", "no such option '--LR'; did you mean '--lr'?"),
        ("train -lr 1", "no such option '-lr'; did you mean '--lr'?"),
        ("train --batch_size 1", "no such option '--batch_size'; did you mean '--batch-size'?"),
        ("train --no-resume", "no such option '--no-resume'; did you mean '--resume'?"),
        (
            "train --features deskw",
            "wrong value of --features: 'deskw' is not one of 'deskew', 'directions'; did you mean 'deskew'?",
        ),
        (
            "train --features deskew,deskew",
            "wrong value of --features: expected any of deskew, directions, each at most once, in this order, got deskew,deskew",
        ),
        ("train --features deskew --features none", "--features is given twice; give it once"),
        ("eval --min 1", "no such option '--min'; did you mean '--min-accuracy'?"),
        ("train -x", "no such option '-x'; try 'mnist-softmax train --help'"),
        (
            "train --schedule Cosin",
            "wrong value of --schedule: 'Cosin' is not one of 'constant', 'cosine'; did you mean 'cosine'?",
        ),
        (
            "show --split validation",
            "wrong value of --split: 'validation' is not one of 'test', 'train'",
        ),
        ("train --lr -1", "wrong value of --lr: expected a finite number above 0, got -1"),
    ],
)
def test_an_unknown_word_suggests_the_nearest_known_one(program: Program, words: str, message: str) -> None:
    assert refused(program(*words.split())) == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("batch-size = 10", "unknown key 'batch-size': c.toml; did you mean 'batch_size'?"),
        ("epoch = 10", "unknown key 'epoch': c.toml; did you mean 'epochs'?"),
        ("xyz = 10", "unknown key 'xyz': c.toml; try 'mnist-softmax train --help'"),
        (
            'dataset = "mnsit"',
            "wrong value of dataset: c.toml: 'mnsit' is not one of DATASETS; did you mean 'mnist'?",
        ),
        ('out = "new/"', "wrong value of out: c.toml: expected a path, got 'new/'"),
        ('out = ""', "wrong value of out: c.toml: expected a path, got ''"),
        ('out = "a\\u0000b"', "wrong value of out: c.toml: expected a path, got 'a\\x00b'"),
    ],
)
def test_a_config_is_told_the_nearest_word_too(
    program: Program, tmp_path: Path, line: str, message: str
) -> None:
    (tmp_path / "c.toml").write_text(line)
    expected = message.replace("DATASETS", ", ".join(map(repr, DATASETS)))
    assert refused(program("train", "--config", "c.toml")) == expected


@pytest.mark.parametrize(
    "words", ["train --config a.toml --config b.toml", "sweep --lr 0.1 --reg 0 --lr 0.2"]
)
def test_a_second_config_or_list_is_refused_instead_of_the_first_being_lost(
    program: Program, words: str
) -> None:
    assert refused(program(*words.split())).endswith(" is given twice; give it once")


def test_completion_of_an_unknown_command_is_silent() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mnist_softmax"],
        env=clean_environment(
            _MNIST_SOFTMAX_COMPLETE="bash_complete", COMP_WORDS="mnist-softmax trian --l", COMP_CWORD=2
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# Paths --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "sweep", "report"])
def test_every_command_that_makes_a_file_takes_o_and_out(program: Program, command: str) -> None:
    assert "  -o, --out PATH " in program(command, "--help").out


@pytest.mark.parametrize("value", ["-", "--json", ""])
@pytest.mark.parametrize(
    "words",
    [
        *(f"train {option}" for option in PATHS),
        "train -o",
        "sweep --out",
        "report -o",
        "eval --predictions",
        "eval --probabilities",
        "compare a b --differences",
        "predict digit.png --weights",
        "download --from",
    ],
)
def test_no_option_takes_a_dash_another_option_or_nothing_for_a_path(
    program: Program, tmp_path: Path, words: str, value: str
) -> None:
    message = refused(program(*words.split(), value))
    *_, option = words.split()
    option = "--out" if option == "-o" else option
    assert message.startswith(f"wrong value of {option}: expected a path, got '{value}'")
    assert message.endswith(f"; results go to stdout by themselves, './{value}' names a file") == bool(value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["eval", "info", "compare a", "predict --weights w.npy"])
def test_no_argument_is_an_empty_path(program: Program, words: str) -> None:
    assert "expected a path, got ''" in refused(program(*words.split(), ""))


# Variables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TRAIN_EPOCHS", "abc", "expected an integer from 1 to 100000, got abc"),
        ("TRAIN_FEATURES", "dskew", "'dskew' is not one of 'deskew', 'directions'; did you mean 'deskew'?"),
        ("TRAIN_RESUME", "maybe", "expected 1 or 0, got 'maybe'"),
        ("OFFLINE", "maybe", "expected 1 or 0, got 'maybe'"),
        (
            "CACHE_DIR",
            "-",
            "expected a path, got '-'; results go to stdout by themselves, './-' names a file",
        ),
        ("TRAIN_SCHEDULE", "cosin", "'cosin' is not one of 'constant', 'cosine'; did you mean 'cosine'?"),
    ],
)
def test_a_wrong_value_names_the_variable(program: Program, name: str, value: str, message: str) -> None:
    environment: Any = {f"MNIST_SOFTMAX_{name}": value}
    assert refused(program("train", **environment)) == f"wrong value of MNIST_SOFTMAX_{name}: {message}"


def test_two_sources_of_data_name_the_place_where_both_are(program: Program, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('dataset = "mnist"\ndata_dir = "d"\n')
    environment: Any = {"MNIST_SOFTMAX_TRAIN_DATASET": "mnist", "MNIST_SOFTMAX_TRAIN_DATA_DIR": "d"}
    for done, place in (
        (program("train", "--config", "c.toml"), "config"),
        (program("train", **environment), "environment"),
        (program("train", "--dataset", "mnist", "--data-dir", "d"), "command line"),
    ):
        assert refused(done) == f"--dataset and --data-dir exclude each other: got both in the {place}"


def test_a_flag_of_the_environment_counts_by_its_value(program: Program) -> None:
    for value, offline in (("0", False), ("1", True)):
        # Nothing listens on this port.
        done = program("download", "--mirror", "http://127.0.0.1:9/", MNIST_SOFTMAX_OFFLINE=value)
        assert done.code == 3
        assert done.error.startswith("mnist-softmax: error: offline") == offline, value


@pytest.mark.parametrize(
    ("variable", "words", "expected"),
    [
        ("DOWNLOAD_MIRROR=http://127.0.0.1:9/", "download --from nowhere", (2, "no such folder: nowhere")),
        ("DOWNLOAD_FROM=nowhere", "download --mirror http://127.0.0.1:9/", (3, "no mirror delivered")),
        ("SHOW_MISTAKES=1", "show --index 0", (2, "no such file: weights.npy")),
        ("SHOW_INDEX=0", "show --mistakes", (2, "no such file: weights.npy")),
    ],
)
def test_of_options_that_exclude_each_other_the_command_line_wins(
    program: Program, variable: str, words: str, expected: tuple[int, str]
) -> None:
    name, value = variable.split("=")
    environment: Any = {f"MNIST_SOFTMAX_{name}": value}
    done = program(*words.split(), **environment)
    assert (done.code, done.error[: len(f"mnist-softmax: error: {expected[1]}")]) == (
        expected[0],
        f"mnist-softmax: error: {expected[1]}",
    )


def test_the_variable_of_a_command_wins_over_that_of_all_commands(program: Program, tmp_path: Path) -> None:
    environment: Any = {"MNIST_SOFTMAX_OFFLINE": 0, "MNIST_SOFTMAX_TRAIN_OFFLINE": 1}
    environment |= {"MNIST_SOFTMAX_CACHE_DIR": "a", "MNIST_SOFTMAX_TRAIN_CACHE_DIR": "b"}
    done = program("train", **environment)
    assert done.code == 3
    assert done.error.startswith("mnist-softmax: error: offline")
    assert "b/mnist" in done.error
    assert program("train", "--cache-dir", "c", **environment).error.count("c/mnist")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("TRIAN_LR", "; did you mean 'MNIST_SOFTMAX_TRAIN_LR'?"),
        ("LR", "; did you mean 'MNIST_SOFTMAX_TRAIN_LR'?"),
        ("CACHEDIR", "; did you mean 'MNIST_SOFTMAX_CACHE_DIR'?"),
        ("VERSION", ""),
    ],
)
def test_an_unknown_variable_is_warned_about(program: Program, name: str, hint: str) -> None:
    environment: Any = {f"MNIST_SOFTMAX_{name}": "1"}
    done = program("gradcheck", "--dataset", "mnist-sample", "--rows", 8, **environment)
    assert (done.code, done.err) == (
        0,
        f"mnist-softmax: warning: unknown variable MNIST_SOFTMAX_{name}{hint}\n",
    )


def test_known_variables_and_those_of_the_tests_are_not_warned_about(program: Program) -> None:
    environment: Any = {
        f"MNIST_SOFTMAX_{name}": "1"
        for name in ("TEST_DATA", "TRAIN_LR", "SWEEP_CACHE_DIR", "DOWNLOAD_FROM", "MIRROR", "OFFLINE")
    }
    done = program("gradcheck", "--dataset", "mnist-sample", "--rows", 8, **environment)
    assert (done.code, done.err) == (0, "")


def test_commands_are_loaded_for_their_variables_only_if_they_are_needed(made: Path) -> None:
    code = (
        "import sys\n"
        "from mnist_softmax.cli import main\n"
        "main.cli.main(['info', 'weights.npy'], standalone_mode=False)\n"
        "print(sum(f'mnist_softmax.cli.{name}' in sys.modules for name in main.COMMANDS), file=sys.stderr)"
    )
    for environment, loaded in (
        ({"MIRROR": "x", "OFFLINE": "1"}, 1),
        ({"TRAIN_LR": "1"}, 2),
        ({"TRIAN_LR": "1"}, len(COMMANDS)),
    ):
        variables = {f"MNIST_SOFTMAX_{name}": value for name, value in environment.items()}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=clean_environment(**variables),
            cwd=made,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr.splitlines()[-1] == str(loaded)


def test_a_variable_that_is_empty_sets_nothing_and_is_warned_about(program: Program) -> None:
    done = program("eval", "missing.npy", MNIST_SOFTMAX_EVAL_MIN_ACCURACY="")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "mnist-softmax: warning: the variable MNIST_SOFTMAX_EVAL_MIN_ACCURACY is empty, so it sets nothing",
    )


def test_a_path_that_may_not_be_read_is_no_wrong_usage(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.npy").touch()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    done = program("eval", "w.npy")
    assert (done.code, done.error[:36]) == (6, "mnist-softmax: error: not a .npy fil")
