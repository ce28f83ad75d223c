"""A chain of feature steps over rows: its order, its blocks, and more features than memory should hold."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any, Self
from unittest.mock import Mock

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from mnist_softmax.errors import LocalIOError
from mnist_softmax.features import prepare as module
from mnist_softmax.features import steps
from mnist_softmax.features.deskew import deskew
from mnist_softmax.features.directions import directions
from mnist_softmax.features.prepare import prepare
from mnist_softmax.features.steps import Step

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 63), np.uint8)


def test_no_steps_are_the_images_themselves() -> None:
    assert prepare(IMAGES, 9, 7, ()) is IMAGES


def test_steps_are_applied_in_the_order_of_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(steps.STEPS, "invert", Step(lambda images, *_: 255 - images, lambda *size: size))
    np.testing.assert_array_equal(prepare(IMAGES, 9, 7, ("deskew", "invert")), 255 - deskew(IMAGES, 9, 7))
    np.testing.assert_array_equal(prepare(IMAGES, 9, 7, ("invert", "deskew")), deskew(255 - IMAGES, 9, 7))
    both = prepare(IMAGES, 9, 7, ("deskew", "directions"))
    np.testing.assert_array_equal(both, directions(deskew(IMAGES, 9, 7), 9, 7))


@pytest.mark.parametrize("chain", [(), ("deskew",), ("directions",), ("deskew", "directions")])
def test_as_many_features_come_out_as_are_counted(chain: tuple[str, ...]) -> None:
    features = prepare(IMAGES, 9, 7, chain)
    assert features.shape == (20, steps.count(9, 7, chain))
    assert features.dtype == np.uint8


def test_a_step_gets_the_shape_that_the_one_before_made(monkeypatch: pytest.MonkeyPatch) -> None:
    halves = Step(
        lambda images, height, width: images[:, : width // 2], lambda height, width: (1, width // 2)
    )
    monkeypatch.setitem(steps.STEPS, "halves", halves)
    np.testing.assert_array_equal(prepare(IMAGES, 9, 7, ("halves", "halves")), IMAGES[:, :1])


@pytest.mark.parametrize("most", [1 << 30, 0])
def test_images_are_as_good_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    whole = prepare(IMAGES, 9, 7, ("deskew", "directions"))
    monkeypatch.setattr(module, "_BLOCK_ROWS", 7)
    monkeypatch.setattr(module, "MOST_IN_MEMORY", most)
    np.testing.assert_array_equal(prepare(IMAGES, 9, 7, ("deskew", "directions")), whole)


def test_features_beyond_the_limit_are_in_a_file_without_a_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    temporary = Mock(wraps=tempfile.TemporaryFile)
    monkeypatch.setattr(tempfile, "TemporaryFile", temporary)
    monkeypatch.setattr(module, "MOST_IN_MEMORY", 20 * 63 - 1)
    features = prepare(IMAGES, 9, 7, ("deskew",), tmp_path)
    temporary.assert_called_once_with(dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not features.flags.writeable
    np.testing.assert_array_equal(features, deskew(IMAGES, 9, 7))
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert any(str(tmp_path) in line and "(deleted)" in line for line in maps.read_text().splitlines())
    monkeypatch.setattr(module, "MOST_IN_MEMORY", 20 * 63)
    assert prepare(IMAGES, 9, 7, ("deskew",), tmp_path).flags.writeable


def test_steps_multiply_on_one_thread_which_is_faster_beside_other_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    def look(images: Any, *_: int) -> Any:
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return images

    monkeypatch.setitem(steps.STEPS, "look", Step(look, lambda *size: size))
    with threadpool_limits(2, "blas"):
        prepare(IMAGES, 9, 7, ("look",))
    assert set(seen) == {1}


@pytest.mark.parametrize("folder", [True, False])
def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: bool) -> None:
    class Full:
        def __init__(self, **_: Any) -> None: ...

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

        def write(self, _: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    monkeypatch.setattr(module, "MOST_IN_MEMORY", 0)
    where = str(tmp_path) if folder else "the system's folder of temporary files"
    with pytest.raises(LocalIOError, match=f"cannot write a temporary file: {where}: got No space left"):
        prepare(IMAGES, 9, 7, ("deskew",), tmp_path if folder else None)
