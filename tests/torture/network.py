"""With a warm cache, or with --offline, no socket is opened; the network namespace has no route either."""

import random
import re
import subprocess
from pathlib import Path

from common import PROGRAM, Row, Tally, environment, mirror

COMMANDS = [
    "download --offline",
    "train --offline --epochs 1 --out w.npy",
    "train --epochs 1 --out w.npy",  # a warm cache needs no network in any case
    "eval w.npy --offline",
    "train --dataset kmnist --offline --out w.npy",  # not cached: exit 3
]
STRACE = ["strace", "-f", "-qq", "-e", "trace=%network", "-o"]


def run(count: int, rng: random.Random, folder: Path) -> Tally:
    """Each command `count` times."""
    tally = Tally(notes={"sockets": 0})
    folder.mkdir(parents=True)
    trace = folder / "trace"
    with mirror() as server:
        variables = {"MNIST_SOFTMAX_CACHE_DIR": "cache", "MNIST_SOFTMAX_MIRROR": server.url}
        subprocess.run(
            [*PROGRAM, "download"], cwd=folder, env=environment(**variables), check=True, capture_output=True
        )
    namespace = ["unshare", "--net"]
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
        namespace = ["unshare", "--net", "--map-root-user"]
    for _ in range(count):
        for command in COMMANDS:
            done = subprocess.run(
                [*namespace, *STRACE, str(trace), *PROGRAM, *command.split()],
                cwd=folder,
                env=environment(MNIST_SOFTMAX_CACHE_DIR="cache"),
                capture_output=True,
                text=True,
                check=False,
            )
            sockets = [
                line for line in trace.read_text().splitlines() if re.search(r"\bsocket|connect", line)
            ]
            tally.done += 1
            tally.notes["sockets"] += len(sockets)
            wanted = 3 if "kmnist" in command else 0
            tally.expect(done.returncode == wanted, f"{command}: exit {done.returncode}: {done.stderr}")
            tally.expect(not sockets, f"{command}: {sockets}")
    return tally


def figure(tally: Tally) -> str:
    """The figure of the table."""
    return f"{tally.notes['sockets']} sockets in {tally.done} runs of {len(COMMANDS)} commands"


ROW = Row(
    "network namespace without a route, warm cache, `--offline`",
    5,
    run,
    figure,
    "`unshare --net`, the network calls counted by strace",
)
