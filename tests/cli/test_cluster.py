"""``--cluster`` on the command line: what is printed, exit codes, patience, signals, a terminal, bytes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli.streams import run_on_terminal
from clusters import Proxy, cluster, until
from conftest import Finished, Program, clean_environment, write_folder

distributed = pytest.importorskip("distributed")

#: Seconds that a scheduler or all workers may be away.
PATIENCE = 6
PATIENT: Any = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": f"{PATIENCE}s"}
LBFGS = ("train", "--solver", "lbfgs", "--reg", "1e-6", "--data-dir", "rows")
SWEEP = ("sweep", "--data-dir", "rows", "--lr", "0.01,0.1,0.2,0.5", "--reg", "0,1e-5,1e-3")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Some rows in four blocks and a bit."""
    write_folder(tmp_path / "rows", rows=75_000)
    return tmp_path / "rows"


@contextmanager
def begun(folder: Path, *arguments: object, epochs: int = 4) -> Iterator[Any]:
    """A process of the program in a group of its own, once it has done some epochs."""
    log = folder / "log.jsonl"
    log.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "mnist_softmax", *map(str, arguments), "--log", log],
        cwd=folder,
        env=clean_environment(**PATIENT),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        until(lambda: (log.exists() and log.read_text().count("\n") >= epochs) or process.poll(), "epochs")
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def ended(process: Any, within: float) -> Finished:
    """How a process ends within some seconds, without the lines of the epochs."""
    out, err = process.communicate(timeout=within)
    lines = [line for line in err.splitlines(keepends=True) if not line.startswith("epoch ")]
    return Finished(process.returncode, out, "".join(lines))


# What it prints -----------------------------------------------------------------------------------------------------


def test_the_files_and_the_ranking_are_those_of_this_machine(
    process: Program, rows: Path, tmp_path: Path
) -> None:
    train, sweep = (*LBFGS, "--epochs", 6, "--out"), (*SWEEP, "--epochs", 1, "--json", "--out")
    with cluster(tmp_path / "dask", 1, 1) as made:
        for command, places in ((train, [made.address, "local"]), (sweep, [made.address])):
            alone = process(*command, "one.npy")
            for place in places:
                together = process(*command, "two.npy", "--cluster", place, timeout=120)
                assert (alone.code, together.code) == (0, 0), together.err
                assert (tmp_path / "one.npy").read_bytes() == (tmp_path / "two.npy").read_bytes()
        assert together.out.replace("two.npy", "one.npy") == alone.out
        assert together.err == alone.err == ""


def test_bars_count_the_rows_on_a_terminal(rows: Path, tmp_path: Path) -> None:
    with cluster(tmp_path / "dask", 1, 1) as made:
        seen = run_on_terminal(
            *LBFGS, "--epochs", 5, "--cluster", made.address, cwd=tmp_path, stream="stderr"
        )
        assert seen.code == 0, seen.terminal
        assert "training: 100%" in seen.terminal.replace("\x1b", "")
        seen = run_on_terminal(
            *SWEEP, "--epochs", 1, "--cluster", made.address, cwd=tmp_path, stream="stderr"
        )
        assert "training 12 models: 100%" in seen.terminal


def test_a_sweep_may_have_more_models_there(process: Program, small_folder: Path) -> None:
    many = ",".join(str(number) for number in range(1025))
    arguments = ("sweep", "--data-dir", small_folder, "--lr", "0.1", "--reg", "0", "--seed")
    assert process(*arguments, many).error.endswith("too many models: expected at most 1024, got 1025")
    done = process(
        *arguments, many, "--cluster", "tcp://127.0.0.1:9", DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="1s"
    )
    assert (done.code, "no answer from the scheduler" in done.error) == (5, True)
    arguments = (
        *arguments[:3],
        "--reg",
        "0",
        "--lr",
        ",".join(f"{number}.5" for number in range(257)),
        "--seed",
    )
    many = ",".join(str(number) for number in range(256))
    done = process(*arguments, many, "--cluster", "tcp://127.0.0.1:9")
    assert done.error.endswith("too many models: expected at most 65536, got 65792")


# What is wrong before it begins -------------------------------------------------------------------------------------


def test_gradient_descent_has_no_use_for_a_cluster(program: Program, small_folder: Path) -> None:
    done = program("train", "--data-dir", small_folder, "--cluster", "local")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "mnist-softmax: error: --cluster does not go with the solver sgd; add --solver lbfgs\n"
    )


@pytest.mark.parametrize("arguments", [LBFGS, SWEEP], ids=["train", "sweep"])
def test_without_dask_one_line_says_what_to_install(
    program: Program, rows: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = program(*arguments, "--cluster", "local")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "mnist-softmax: error: Dask is missing; install it with: pip install 'mnist-softmax[cluster]'\n"
    )


def test_a_frozen_scheduler_is_not_waited_for(process: Program, rows: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    assert process(*LBFGS, "--cluster", "tcp://127.0.0.1:0").code == 2  # once Dask is imported
    to_begin = time.monotonic() - started
    with cluster(tmp_path / "dask") as made:
        made.scheduler.freeze()
        started = time.monotonic()
        done = process(*LBFGS, "--cluster", made.address, **PATIENT)
        assert time.monotonic() - started < 2 * to_begin + PATIENCE + 5
    assert (done.code, done.out) == (5, "")
    assert done.err == (
        f"mnist-softmax: error: no answer from the scheduler: {made.address}: got silence for {PATIENCE} s; "
        "start one with `dask scheduler`, or check the address and its tcp:// or tls://\n"
    )


# What goes wrong on the way -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_a_scheduler_that_goes_ends_it_in_one_line_and_nothing_is_lost(
    process: Program, rows: Path, tmp_path: Path, fault: str
) -> None:
    with (
        cluster(tmp_path / "dask", 1, 1) as made,
        begun(tmp_path, *LBFGS, "--epochs", 200, "--cluster", made.address) as running,
    ):
        getattr(made.scheduler, fault)()
        done = ended(running, PATIENCE + 5)
    assert (done.code, done.out, done.err.count("\n")) == (5, "", 2), done.err
    stopped, error = done.err.splitlines()
    assert stopped.startswith("mnist-softmax: warning: stopped; --resume goes on from epoch ")
    assert error.startswith("mnist-softmax: error: ")
    assert made.address in error
    assert process(*LBFGS, "--epochs", 200, "--resume").code == 0
    assert process(*LBFGS, "--epochs", 200, "--out", "whole.npy").code == 0
    assert (tmp_path / "weights.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_a_sweep_prints_what_it_knows_when_the_scheduler_goes(
    process: Program, rows: Path, tmp_path: Path
) -> None:
    def groups_done(dask_scheduler: Any) -> int:
        prefix = dask_scheduler.task_prefixes.get("train")
        return prefix.state_counts["memory"] if prefix else 0

    def kill() -> None:
        with distributed.Client(made.address, set_as_default=False) as client:
            until(lambda: client.run_on_scheduler(groups_done) > 3, "some groups")
        made.scheduler.kill()

    with cluster(tmp_path / "dask", 1, 1) as made, ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill)
        seeds = ",".join(map(str, range(60)))
        done = process(*SWEEP, "--epochs", 1, "--seed", seeds, "--cluster", made.address, **PATIENT)
        killed.result()
    assert (done.code, done.err.count("\n")) == (5, 1), done.err
    assert done.err.startswith("mnist-softmax: error: ")
    assert done.out.startswith("interrupted; what is known so far:\nrank  accuracy")


@pytest.mark.parametrize("where", ["a cluster", "local"])
def test_ctrl_c_ends_it_at_once_with_a_checkpoint(rows: Path, tmp_path: Path, where: str) -> None:
    with cluster(tmp_path / "dask", 1) as made:
        address = made.address if where == "a cluster" else "local"
        with begun(tmp_path, *LBFGS, "--epochs", 200, "--cluster", address) as running:
            os.killpg(running.pid, signal.SIGINT)  # as a terminal does, to the workers of "local" too
            done = ended(running, 10)
    assert (done.code, done.out, done.err.count("\n")) == (-signal.SIGINT, "", 1), done.err
    assert done.err.startswith("mnist-softmax: warning: stopped; --resume goes on from epoch ")


# Bytes --------------------------------------------------------------------------------------------------------------


@pytest.mark.full
def test_little_passes_through_the_scheduler(
    cache: Path, tmp_path: Path, process: Program, small_folder: Path
) -> None:
    def bytes_of(*arguments: object) -> float:
        """What passed, without what does while nothing is done; that grows with the time alone."""
        idle = proxy.received, proxy.sent, time.monotonic()
        time.sleep(3)
        before = proxy.received, proxy.sent, time.monotonic()
        done = process(*arguments, "--cluster", proxy.address, MNIST_SOFTMAX_CACHE_DIR=cache)
        assert done.code == 0, done.err
        assert "raph" not in done.err  # "Sending large graph ..."
        passed = (time.monotonic() - before[2]) / (before[2] - idle[2])
        return max(
            proxy.received - before[0] - passed * (before[0] - idle[0]),
            proxy.sent - before[1] - passed * (before[1] - idle[1]),
        )

    with (
        cluster(tmp_path / "dask", MNIST_SOFTMAX_CACHE_DIR=cache) as made,
        closing(Proxy(made.address)) as proxy,
    ):
        for _ in range(2):
            made.worker(address=proxy.address)
        few, many = (bytes_of("train", "--solver", "lbfgs", "--epochs", count) for count in (10, 40))
        a_round = (many - few) / 30
        lists = "--lr", "0.1,0.2,0.4,0.8", "--reg", "0,1e-5,1e-4,1e-3"  # a group of 16 for each seed
        few, many = (
            bytes_of(
                "sweep",
                "--data-dir",
                small_folder,
                "--epochs",
                1,
                *lists,
                "--seed",
                ",".join(map(str, range(n))),
            )
            for n in (10, 310)
        )
        a_task = (many - few) / 300
    assert a_round < 100_000 + 6 * 3_000, a_round  # the parameters, the gradient, and six tasks
    assert a_task < 3_000, a_task
    print(a_round, a_task)
