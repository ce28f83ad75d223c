"""Sweeps and L-BFGS on real Dask clusters of processes on loopback: the same bits, or one line."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clusters import Cluster, cluster, until
from conftest import write_folder
from threadpoolctl import threadpool_info

pytest.importorskip("distributed")

from mnist_softmax.data.open import open_split
from mnist_softmax.data.split import train_validation_rows
from mnist_softmax.errors import ClusterError
from mnist_softmax.runs import sweep
from mnist_softmax.runs.cluster import groups, passes
from mnist_softmax.runs.cluster.connection import Connection, connected
from mnist_softmax.runs.fit import fit
from mnist_softmax.settings import Settings
from mnist_softmax.training.blocks import Blocks

#: Seconds that a cluster may be away, here and in the processes.
PATIENCE = 6
PATIENT: Any = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": f"{PATIENCE}s"}
#: Another kernel than that of the tests, which any processor has.
OTHER_BLAS: Any = {"OPENBLAS_CORETYPE": "Prescott"}
LISTS: Any = {"lr": [0.01, 0.1, 0.5], "reg": [0.0, 1e-4, 1e-2], "seed": [0, 1, 2, 3, 4, 5]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventy thousand rows of 8 x 8 pixels: four blocks of training rows and the rest of a fifth."""
    made = tmp_path_factory.mktemp("rows")
    write_folder(made, rows=75_000)
    return made


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": f"{PATIENCE}s"}):
        yield


def of_lbfgs(**given: Any) -> Settings:
    return Settings.for_features((), **{"solver": "lbfgs", "epochs": 12, "reg": 1e-5, **given})


def weights(folder: Path, cluster: Connection | None = None, features: Any = (), **options: Any) -> bytes:
    """What L-BFGS makes of a folder."""
    settings = options.pop("settings", of_lbfgs())
    size = options.pop("blocks_per_task", None)
    elsewhere = partial(passes.ClusterBlocks, cluster, blocks_per_task=size) if cluster else None
    model = fit(open_split(data_dir=folder), settings, features, elsewhere=elsewhere, **options)
    return model.array.tobytes() + repr(model.receipt).encode()


@pytest.fixture(scope="module")
def expected(folder: Path) -> bytes:
    return weights(folder)


def models() -> list[Settings]:
    return sweep.grid(Settings.for_features((), epochs=1, val_size=1000), LISTS)


def ranking(outcomes: Any, of: list[Settings] | None = None) -> Any:
    """What a sweep prints, whatever group is done first."""
    latest = {model: sweep.Outcome(model) for model in of or models()}
    latest.update({outcome.settings: outcome for group in outcomes for outcome in group})
    return json.dumps([combination.as_json() for combination in sweep.ranked(list(latest.values()))])


@pytest.fixture(scope="module")
def expected_ranking(folder: Path) -> Any:
    return ranking(sweep.sweep(open_split(data_dir=folder), models()))


@contextmanager
def joined(made: Cluster, said: Any = None) -> Iterator[Connection]:
    with connected(made.address, said.append if said is not None else repr) as found:
        yield found


# The same bits ------------------------------------------------------------------------------------------------------


def test_the_same_bits_from_tasks_of_any_size(
    folder: Path, expected: bytes, expected_ranking: Any, tmp_path: Path
) -> None:
    with cluster(tmp_path / "dask", 1, 1) as made, joined(made) as found:
        assert weights(folder, found) == expected
        assert ranking(groups.sweep(found, open_split(data_dir=folder), models())) == expected_ranking
        four = of_lbfgs(epochs=4)
        alone = weights(folder, settings=four)
        for size in (1, 2, 4, 8):
            assert weights(folder, found, settings=four, blocks_per_task=size) == alone


def test_a_worker_has_one_blas_thread_for_good(folder: Path, tmp_path: Path) -> None:
    environment: Any = {"OPENBLAS_NUM_THREADS": 2}
    with cluster(tmp_path / "dask", 2, **environment) as made, joined(made) as found:
        weights(folder, found, settings=of_lbfgs(epochs=1))
        (libraries,) = found.client.run(threadpool_info).values()
    assert {library["num_threads"] for library in libraries if library["user_api"] == "blas"} == {1}


def test_the_order_of_the_sum_is_that_of_this_machine(tmp_path: Path) -> None:
    @dataclass
    class Written:  # the bits of a sum often do not show in which order it was added
        text: str

        def plus(self, other: Any) -> Any:
            return type(self)(f"({self.text} + {other.text})")

    def first_row(_: Any, __: Any, rows: Any) -> Written:
        return Written(str(rows[0]))

    # 37 blocks: tasks of three would fit, and more sums than are added at once.
    write_folder(tmp_path / "rows", rows=600_000, height=1, width=1)
    split, settings = open_split(data_dir=tmp_path / "rows"), of_lbfgs(val_size=5000)
    rows, _ = train_validation_rows(len(split.labels), 5000, settings.seed)
    given = split, (), split.images, rows, settings
    expected = Blocks(split.images, split.labels, rows).total(first_row).text
    with cluster(tmp_path / "dask", 1, 1) as made, joined(made) as found:
        until(lambda: len(found.workers(PATIENCE)) == 2, "the workers")
        for size in (None, 1, 2, 16, 64):
            there = passes.ClusterBlocks(found, *given, blocks_per_task=size)
            assert there.total(first_row).text == expected


@pytest.mark.full
def test_the_same_bits_of_mnist_from_any_workers(cache: Path, tmp_path: Path) -> None:
    split = open_split("mnist", cache_dir=cache)
    settings, chain = of_lbfgs(epochs=8), ("deskew", "directions")
    one_by_one = sweep.grid(
        Settings.for_features((), epochs=1, val_size=5000),
        {"lr": [2.0**-n for n in range(16)], "reg": [10.0**-n for n in range(8)]},
    )
    alone = fit(split, settings), fit(split, settings, chain)
    ranked = ranking(sweep.sweep(split, one_by_one), one_by_one)
    with cluster(tmp_path / "dask", MNIST_SOFTMAX_CACHE_DIR=cache) as made, joined(made) as found:
        for layout, size in (((2,), None), ((1, 1), 1), ((1, 1, 1, 1), 2)):
            for old in made.workers:
                old.kill()
            for threads in layout:
                made.worker(threads=threads)
            until(
                lambda layout=layout: sorted(found.workers(PATIENCE).values()) == sorted(layout),
                "the workers",
            )
            elsewhere = partial(passes.ClusterBlocks, found, blocks_per_task=size)
            together = fit(split, settings, elsewhere=elsewhere)
            assert (together.array.tobytes(), together.receipt) == (
                alone[0].array.tobytes(),
                alone[0].receipt,
            )
            assert ranking(groups.sweep(found, split, one_by_one), one_by_one) == ranked
        together = fit(split, settings, chain, elsewhere=elsewhere)
        assert (together.array.tobytes(), together.receipt) == (alone[1].array.tobytes(), alone[1].receipt)


# Workers that come and go -------------------------------------------------------------------------------------------


def at_epoch(number: int, act: Callable[[], object]) -> Callable[[Any], object]:
    """An `on_epoch` that does something after one of them."""
    return lambda entry: act() if entry.epoch == number else None


def test_a_worker_that_is_killed_or_joins_changes_nothing(
    folder: Path, expected: bytes, expected_ranking: Any, tmp_path: Path
) -> None:
    said: list[str] = []
    given_up: Any = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": 0}  # what a worker had when it died
    with cluster(tmp_path / "dask", 1, 1, **given_up) as made, joined(made, said) as found:
        until(lambda: len(found.workers(PATIENCE)) == 2, "both workers")
        assert weights(folder, found, on_epoch=at_epoch(3, made.workers[0].kill)) == expected
        assert weights(folder, found, on_epoch=at_epoch(3, made.worker)) == expected
        until(lambda: len(found.workers(PATIENCE)) == 2, "the new worker")
        outcomes: list[Any] = []
        for group in groups.sweep(found, open_split(data_dir=folder), models()):
            made.workers[1].kill()
            outcomes.append(group)
        assert ranking(outcomes) == expected_ranking
    assert said == []


def test_all_workers_are_killed_and_one_comes_back(
    folder: Path, expected: bytes, expected_ranking: Any, tmp_path: Path
) -> None:
    with cluster(tmp_path / "dask", 1, 1) as made, joined(made) as found:

        def all_but_a_new_one() -> None:
            for process in made.workers:
                process.kill()
            made.worker()

        assert weights(folder, found, on_epoch=at_epoch(3, all_but_a_new_one)) == expected
        outcomes: list[Any] = []
        for group in groups.sweep(found, open_split(data_dir=folder), models()):
            if not outcomes:
                all_but_a_new_one()
            outcomes.append(group)
        assert ranking(outcomes) == expected_ranking


def test_all_workers_are_killed_and_none_comes_back(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.npy"
    with cluster(tmp_path / "dask", 1, 1) as made, joined(made) as found:

        def all_of_them() -> None:
            for process in made.workers:
                process.kill()
            killed_at.append(time.monotonic())

        killed_at: list[float] = []
        said: list[str] = []
        with pytest.raises(ClusterError, match="no worker that can be used"):
            weights(
                folder,
                found,
                out=out,
                on_epoch=at_epoch(3, all_of_them),
                notify=said.append,
            )
        assert time.monotonic() - killed_at[0] < PATIENCE + 5
    assert len(said) == 1
    assert "--resume goes on from epoch" in said[0]
    whole = weights(folder, out=tmp_path / "whole.npy")
    assert weights(folder, out=out, resume=True) == whole


# Workers that would give other bits ---------------------------------------------------------------------------------


def test_a_worker_with_another_blas_is_named_and_not_used(
    folder: Path, expected: bytes, tmp_path: Path
) -> None:
    said: list[str] = []
    with cluster(tmp_path / "dask") as made, joined(made, said) as found:
        made.worker(**OTHER_BLAS)
        until(lambda: found.workers(PATIENCE), "the first worker")
        (other,) = found.workers(PATIENCE)
        made.worker()
        assert weights(folder, found) == expected
        assert len(said) == 1
        assert said[0].startswith(f"worker not used: {other}: other version of blas: expected openblas ")
        assert "Haswell" not in said[0].partition(", got ")[2]


def test_a_worker_with_another_blas_that_joins_late_is_named_and_not_used(
    folder: Path, expected: bytes, tmp_path: Path
) -> None:
    said: list[str] = []
    with cluster(tmp_path / "dask", 1) as made, joined(made, said) as found:

        def act(entry: Any) -> None:
            if entry.epoch == 2:
                made.worker(**OTHER_BLAS)
                until(lambda: len(found.workers(PATIENCE)) == 2, "the late worker")
            time.sleep(0.6)  # the job goes on long enough for the worker to be seen and to answer

        assert weights(folder, found, on_epoch=act) == expected
        late = set(found.workers(PATIENCE))
        assert len(said) == 1, said
        assert said[0].split(": ")[1] in late
        assert "other version of blas" in said[0]


def test_a_worker_whose_numpy_uses_other_instructions_is_named_and_not_used(
    folder: Path, expected: bytes, tmp_path: Path
) -> None:
    choices = {"X86_V3", "AVX2"} & set(np.show_config(mode="dicts")["SIMD Extensions"].get("found", []))
    said: list[str] = []
    with cluster(tmp_path / "dask", 1) as made, joined(made, said) as found:
        until(lambda: found.workers(PATIENCE), "the first worker")
        made.worker(NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512_SKX")
        until(lambda: len(found.workers(PATIENCE)) == 2, "the other worker")
        assert weights(folder, found) == expected
    assert ["other version of the arithmetic of NumPy" in line for line in said] == [True] * bool(choices)


def test_another_process_at_the_address_of_a_worker_is_checked_too(
    folder: Path, expected: bytes, tmp_path: Path
) -> None:
    said: list[str] = []
    with cluster(tmp_path / "dask", 1) as made, joined(made, said) as found:
        until(lambda: found.workers(PATIENCE), "the first worker")
        (address,) = found.workers(PATIENCE)

        made.worker()
        until(lambda: len(found.workers(PATIENCE)) == 2, "the second worker")

        def replace() -> None:
            made.workers[0].kill()
            until(lambda: address not in found.workers(PATIENCE), "the end of the first")
            made.worker("--worker-port", address.rpartition(":")[2], **OTHER_BLAS)
            until(lambda: address in found.workers(PATIENCE), "the other process")

        assert weights(folder, found, on_epoch=at_epoch(3, replace)) == expected
    assert len(said) == 1, said
    assert said[0].startswith(f"worker not used: {address}: other version of blas")


def test_only_workers_with_another_blas(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    with cluster(tmp_path / "dask") as made, joined(made, said) as found:
        made.worker(**OTHER_BLAS)
        with pytest.raises(
            ClusterError, match=r"no worker that can be used: tcp://.*: got tcp://.*: other version of blas"
        ):
            weights(folder, found)
    assert len(said) == 1


@pytest.fixture
def without_us(tmp_path: Path) -> Path:
    """A path for Python on which this package cannot be imported."""
    package = tmp_path / "elsewhere" / "mnist_softmax"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ModuleNotFoundError('no\\nsuch package')")
    return package.parent


def test_a_worker_without_the_package_is_named_and_lives_on(
    folder: Path, tmp_path: Path, without_us: Path
) -> None:
    with cluster(tmp_path / "dask") as made, joined(made) as found:
        of_somebody_else = made.worker(PYTHONPATH=without_us)
        until(lambda: found.workers(PATIENCE), "the worker")
        with pytest.raises(ClusterError, match=r"got tcp://.*: ModuleNotFoundError: no such package$"):
            weights(folder, found)
        assert of_somebody_else.popen.poll() is None


def test_a_scheduler_without_the_package_is_named(folder: Path, tmp_path: Path, without_us: Path) -> None:
    with cluster(tmp_path / "dask", PYTHONPATH=without_us) as made, joined(made) as found:
        made.worker(PYTHONPATH="")
        with pytest.raises(
            ClusterError, match="the scheduler does not know the tasks of this program: tcp://"
        ):
            weights(folder, found)


def test_other_data_at_the_same_place_is_not_used(tmp_path: Path) -> None:
    write_folder(tmp_path / "rows", rows=300)
    split = open_split(data_dir=tmp_path / "rows")
    for file in (tmp_path / "rows").iterdir():  # a mapped file keeps its content if another takes its name
        file.unlink()
    write_folder(tmp_path / "rows", rows=300, seed=1)
    other_data = pytest.raises(ClusterError, match="other data in train-images-idx3-ubyte: expected SHA-256")
    with cluster(tmp_path / "dask", 1) as made, joined(made) as found, other_data:
        fit(split, of_lbfgs(), elsewhere=partial(passes.ClusterBlocks, found))


def test_data_that_changes_where_a_worker_reads_it_is_not_used(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    here = open_split(data_dir=folder)
    split = replace(here, source=replace(here.source, data_dir=tmp_path / "copy"))

    def change() -> None:
        with (tmp_path / "copy" / "train-images-idx3-ubyte").open("r+b") as file:
            file.seek(16)
            file.write(bytes(64))

    changed = pytest.raises(ClusterError, match=r"no worker that can be used: .*changed")
    with cluster(tmp_path / "dask", 1) as made, joined(made) as found, changed:
        elsewhere = partial(passes.ClusterBlocks, found)
        fit(split, of_lbfgs(), elsewhere=elsewhere, on_epoch=at_epoch(3, change))


def test_a_worker_without_the_data_is_named(folder: Path, tmp_path: Path) -> None:
    here, said = open_split(data_dir=folder), list[str]()
    split = replace(here, source=replace(here.source, data_dir=tmp_path / "none"))
    missing = pytest.raises(ClusterError, match=r"no worker that can be used: .*none")
    with cluster(tmp_path / "dask", 1) as made, joined(made, said) as found, missing:
        fit(split, of_lbfgs(), elsewhere=partial(passes.ClusterBlocks, found))
    assert len(said) == 1
    assert said[0].startswith("worker not used: tcp://127.0.0.1:")
