"""The short form of ``make torture``: the same rows with small counts.

Four rows have none: the faults of servers are in test_download.py on a faster clock, a run resumed after a kill is
in `kills` and test_train.py, a full disk needs a mount, a round on a cluster takes half a minute, and test_cluster.py
has each of its faults. Rows whose tools this system lacks are not collected.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
COUNTS = {
    "kills": 8,
    "faults": 6,
    "order": 2,
    "processes": 1,
    "mutations": 200,
    "stops": 5,
    "init": 2,
    "network": 1,
    "links": 50,
    "escapes": 40,
    "pictures": 50,
    "containers": 1,
    "writers": 3,
    "commands": 6,
}
STRACE = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", os.devnull, "-e", "trace=fsync", "true"]
NEEDS = {
    "faults": STRACE,
    "order": STRACE,
    "init": ["unshare", "--pid", "--fork", "--mount-proc", "true"],
    "network": ["unshare", "--net", *STRACE],
    "containers": ["unshare", "--pid", "--fork", "--mount-proc", "--uts", "hostname", "torture"],
    "commands": ["unshare", "--mount", "mount", "-t", "tmpfs", "torture", tempfile.gettempdir()],
}


def works(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0
    except OSError:
        return False


ROWS = [row for row in COUNTS if row not in NEEDS or works(NEEDS[row])]


@pytest.mark.skipif(sys.platform != "linux", reason="the scripts use Linux's /proc and tools")
@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_torture_finds_nothing(row: str) -> None:
    memory = Path("/dev/shm")  # a disk takes its time to sync, and thousands of syncs there are
    variables = {"TMPDIR": str(memory)} if os.access(memory, os.W_OK) else {}
    done = subprocess.run(
        [sys.executable, ROOT / "run.py", row, "--count", str(COUNTS[row])],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"`{row}`, seed 0" in done.stdout
