"""What a report of a fault should say about the installation: versions, BLAS, cores, extras, the cache."""

import platform
import re
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from mnist_softmax.data.catalog import DATASETS
from mnist_softmax.data.state import bytes_in, state_of
from mnist_softmax.records.receipt import versions
from mnist_softmax.rows import cores

#: A requirement in the metadata of a package: its name, and the extra that asks for it.
_REQUIREMENT = re.compile(r"([\w.-]+)(?:.*\bextra == [\"']([\w.-]+))?")


def describe(cache_dir: Path) -> dict[str, Any]:
    """The installation as one JSON object; `cache_dir` need not exist.

    `libraries` has the version of each package that is always needed, `extras` of each extra's packages;
    None is one that is missing. Both are empty where the program runs without being installed.
    """
    packages = _packages()
    states = {name: state_of(dataset, cache_dir) for name, dataset in DATASETS.items()}
    cached = sum(state.bytes for name, state in states.items() if DATASETS[name].mirrors)
    with suppress(OSError):  # what several datasets share
        cached += sum(
            bytes_in(cache_dir / each) for each in {known.folder for known in DATASETS.values()} - {""}
        )
    return {
        **versions(),
        "platform": platform.platform(),
        "location": str(Path(__file__).parent.parent),
        "cores": cores(),
        "libraries": packages.pop("", {}),
        "extras": packages,
        "cache": {
            "path": str(cache_dir),
            "bytes": cached,
            "datasets": {name: state._asdict() for name, state in states.items()},
        },
    }


def _packages() -> dict[str, dict[str, str | None]]:
    """Extra, or "" for what is always needed -> name of each package -> its version; None: missing."""
    found: dict[str, dict[str, str | None]] = {}
    for line in _of_package(metadata.requires, "mnist-softmax") or []:
        match = _REQUIREMENT.match(line)
        if match and match[1] != "mnist-softmax":  # an extra that is made of others
            found.setdefault(match[2] or "", {})[match[1]] = _of_package(metadata.version, match[1])
    return found


def _of_package(what: Any, name: str) -> Any:
    """A fact about a package; None if it is not installed."""
    try:
        return what(name)
    except metadata.PackageNotFoundError:
        return None
