"""`make results`: train and score every configuration in configs/, and write docs/results.md."""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interleave import machine

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
PROGRAM = [sys.executable, "-m", "mnist_softmax"]

_HEAD = """# Results

Written by `make results`; do not edit. Each configuration in [configs/](../configs) was trained by its
command and scored on the test rows of its dataset, which training never sees.

| configuration | dataset | test rows | accuracy | 95 % interval | loss | epochs | seconds on one machine |
|---|---|---|---|---|---|---|---|
"""

_COMMANDS = """
The interval is Wilson's. The loss is over the rows trained on, with its penalty: what training lowers.
Seconds are of the whole `train` process from start to end, the best of {runs}, on {machine}.

The same versions on the same type of processor give the same bytes, and others the same accuracy to 0.1
point; `mnist-softmax reproduce` says which it was.

```bash
"""

_PUBLISHED = """```

## Beside published figures

All are on the test rows of MNIST. None was run here; each is as its source states it, but for errors, which
are given as accuracies. What its source says was trained with distorted copies of images is left out.

| accuracy | model | source |
|---|---|---|
| 88.0 % | linear classifier on the pixels | LeCun et al. 1998 [1] |
| 91.6 % | linear classifier, deskewed | LeCun et al. 1998 [1] |
| 92.4 % | pairwise linear classifier, deskewed | LeCun et al. 1998 [1] |
| about 92 % | softmax regression on the pixels | TensorFlow's tutorial [2] |
| 92.5 % | softmax regression on the pixels | Theano's tutorial [3] |
| 95.0 % | k nearest neighbours | LeCun et al. 1998 [1] |
| 95.3 % | network with 300 hidden units | LeCun et al. 1998 [1] |
| 96.8 % | random forest | scikit-learn's benchmark [4] |
| 96.9 % | k nearest neighbours | K. Wilder [1] |
| 97.6 % | k nearest neighbours, deskewed | LeCun et al. 1998 [1] |
| 97.8 % | network with 100 and 100 hidden units | scikit-learn's benchmark [4] |
| 98.4 % | network with 300 hidden units, deskewed | LeCun et al. 1998 [1] |
| 98.4 % | network with 800 hidden units | Simard et al. 2003 [1] |
| 98.6 % | support vector machine, Gaussian kernel | no name given [1] |
| 98.9 % | support vector machine, polynomial kernel, deskewed | LeCun et al. 1998 [1] |
| 99.05 % | convolutional network LeNet-5 | LeCun et al. 1998 [1] |
| 99.13 % | product of boosted stumps on Haar features | Kégl et al. 2009 [1] |
| 99.21 % | histograms of local orientations, support vector machine | Maji and Malik 2009 [5] |
| 99.36 % | histograms of oriented gradients, support vector machine | Khan 2017 [6] |
| 99.47 % | large convolutional network with unsupervised pretraining | Jarrett et al. 2009 [1] |

Networks in PyTorch that were run here, beside `configs/directions.toml` by accuracy and time, are in
[speed.md](speed.md): an MLP of 407,050 parameters and a CNN of 20,522.

That gradients by direction are good features of characters was known long before this program: see Liu,
Nakashima, Sako and Fujisawa [7], who compared features on MNIST and other digits.

1. Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition",
   Proceedings of the IEEE 86(11), 1998; it and the others marked [1] as errors in the table on the page of
   the MNIST database, http://yann.lecun.com/exdb/mnist/, such as 12.0, 8.4 and 7.6 % for the linear ones.
2. "MNIST For ML Beginners", TensorFlow, 2015: "This should be about 92%."
3. "Classifying MNIST digits using Logistic Regression", Deep Learning Tutorials, LISA lab,
   http://deeplearning.net/tutorial/logreg.html: an error of 7.489583 %, which is 719 of 9,600 rows.
4. "MNIST dataset benchmark", scikit-learn, benchmarks/bench_mnist.py, its example of output: errors of 0.0318
   (RandomForest) and 0.0224 (MLP_adam).
5. S. Maji, J. Malik, "Fast and Accurate Digit Classification", UCB/EECS-2009-159, 2009: "an error of 0.79% on
   the MNIST dataset" with an additive kernel.
6. H. A. Khan, "MCS HOG Features and SVM Based Handwritten Digit Recognition System", Journal of Intelligent
   Learning Systems and Applications 9(2), 2017: 99.36 % "using an Independent Test set strategy".
7. "Handwritten digit recognition: benchmarking of state-of-the-art techniques", Pattern Recognition 36, 2003,
   2271-2285, and "Handwritten digit recognition: investigation of normalization and feature extraction
   techniques", Pattern Recognition 37, 2004, 265-279: "The gradient feature from gray-scale image mostly
   yields the best performance". Only their abstracts were read, which give no figure for MNIST.
"""

#: Times that each configuration is trained: the fastest counts, as a busy machine only adds.
_RUNS = 3


@dataclass(frozen=True)
class Row:
    """A configuration and what it reached, rounded as the page has it. `seconds` are of one machine."""

    name: str
    dataset: str
    rows: int
    accuracy: float
    low: float
    high: float
    loss: float
    epochs: int
    seconds: float

    def markdown(self) -> str:
        """The row of the table."""
        return (
            f"| [{self.name}](../configs/{self.name}.toml) | {self.dataset} | {self.rows} | "
            f"**{100 * self.accuracy:.2f} %** | {100 * self.low:.2f} to {100 * self.high:.2f} % | "
            f"{self.loss:.4f} | {self.epochs} | {self.seconds:.1f} |"
        )

    def command(self) -> str:
        """What a reader types to get it."""
        return f"mnist-softmax train --config configs/{self.name}.toml && mnist-softmax eval"


_ROW = re.compile(
    r"\| \[(?P<name>[^]]+)\]\(\S+\) \| (?P<dataset>\S+) \| (?P<rows>\d+) \| \*\*(?P<accuracy>[\d.]+) %\*\* "
    r"\| (?P<low>[\d.]+) to (?P<high>[\d.]+) % \| (?P<loss>[\d.]+) \| (?P<epochs>\d+) "
    r"\| (?P<seconds>[\d.]+) \|"
)


def read(page: str) -> list[Row]:
    """The rows that a page has."""
    return [
        Row(
            match["name"],
            match["dataset"],
            int(match["rows"]),
            float(match["accuracy"]) / 100,
            float(match["low"]) / 100,
            float(match["high"]) / 100,
            float(match["loss"]),
            int(match["epochs"]),
            float(match["seconds"]),
        )
        for match in _ROW.finditer(page)
    ]


def page(rows: Sequence[Row], machine_name: str) -> str:
    """The whole page: full MNIST first, the best first."""
    ordered = sorted(rows, key=lambda row: (row.dataset != "mnist", -row.accuracy))
    return (
        _HEAD
        + "".join(row.markdown() + "\n" for row in ordered)
        + _COMMANDS.format(runs=_RUNS, machine=machine_name)
        + "".join(row.command() + "\n" for row in ordered)
        + _PUBLISHED
    )


def measure(config: Path, scratch: Path, cache: Sequence[str | Path] = ()) -> Row:
    """Train a configuration, then score it."""
    weights = scratch / f"{config.stem}.npy"
    seconds = []
    for _ in range(_RUNS):
        started = time.perf_counter()
        trained = _json("train", "--config", config, "--out", weights, *cache)
        seconds.append(time.perf_counter() - started)
    scored = _json("eval", weights, *cache)
    return Row(
        config.stem,
        tomllib.loads(config.read_text(encoding="utf-8"))["dataset"],
        scored["rows"],
        scored["accuracy"],
        scored["accuracy_low"],
        scored["accuracy_high"],
        trained["loss"],
        trained["epochs"],
        min(seconds),
    )


def _json(*arguments: str | Path) -> Any:
    done = subprocess.run([*PROGRAM, *arguments, "--json"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="mnist", type=Path, help="folder with the four .gz files of MNIST")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch, cache = Path(name), []
        if arguments.mnist:
            cache = ["--cache-dir", str(scratch / "cache")]
            _json("download", "--from", arguments.mnist, *cache)
        else:
            _json("download")  # so that no row's seconds hold it
        rows = [measure(config, scratch, cache) for config in sorted((ROOT / "configs").glob("*.toml"))]
    PAGE.write_text(page(rows, machine()), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
