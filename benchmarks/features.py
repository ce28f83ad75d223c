"""What each part of the features is worth, and how many changed images are still read.

    python benchmarks/features.py FOLDER      FOLDER holds the IDX files of MNIST

Needs Pillow. It prints the figures of docs/features.md and draws its picture. lr and reg of each kind of
features are those that read most validation rows, over three seeds; test rows choose nothing. It takes four
minutes on two cores.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import mnist_softmax as ms
from mnist_softmax.data.split import train_validation_rows
from mnist_softmax.features.deskew import deskew, shear_and_centre
from mnist_softmax.features.directions import DIRECTIONS, _parts, directions, tents
from mnist_softmax.features.prepare import prepare
from mnist_softmax.runs.sweep import Combination, grid, ranked, sweep
from mnist_softmax.settings import Settings

Pixels = NDArray[np.uint8]
Features = Callable[[Pixels], Pixels]

PICTURE = Path(__file__).parent.parent / "docs" / "features.png"
CHAINS = ((), ("deskew",), ("directions",), ("deskew", "directions"))
SIDE, CELLS, C = 28, 7, 4  # of MNIST: pixels and cells along an image, pixels along a cell
BLOCK = 2_048
SEEDS = (0, 1, 2)
LISTS = {"lr": (0.2, 1.0, 4.0, 16.0, 64.0), "reg": (1e-4, 1e-5, 1e-6), "seed": SEEDS}
#: The row of the test file that the page follows, and one of its pixels.
ROW, Y, X = 8, 11, 6


# The features, with one part changed ------------------------------------------------------------------------


def root(sums: NDArray[Any]) -> NDArray[Any]:
    """What the program makes of the sums of the cells."""
    return np.sqrt(64 * sums / C**4)


def straight(sums: NDArray[Any]) -> NDArray[Any]:
    """No root: twice the mean of the cell, which uses most of uint8 and exceeds none."""
    return 2 * sums / (4 * C**4)


def average(sums: NDArray[Any]) -> NDArray[Any]:
    """The mean of the cell."""
    return sums / (4 * C**4)


def unsigned(P: Pixels) -> Pixels:
    """Four maps: those of opposite directions added."""
    eight = _parts(P)
    return eight[:4] + eight[4:]


def pixels(P: Pixels) -> Pixels:
    """One map: the image itself."""
    return P[None]


TENTS = tents(SIDE, CELLS, C).astype(np.float64)
#: Each pixel belongs to one cell only; the weights of a cell have the same sum as a tent.
BOXES = np.repeat(2.0 * C * np.eye(CELLS), C, axis=0)


def cells(
    maps: Callable[[Pixels], Pixels] = _parts,
    weights: NDArray[np.float64] = TENTS,
    value: Callable[[NDArray[Any]], NDArray[Any]] = root,
) -> Features:
    """The function from deskewed images to the maps, summed over cells."""

    def features(images: Pixels) -> Pixels:
        upright = deskew(images, SIDE, SIDE)
        done = []
        for start in range(0, len(upright), BLOCK):
            P = maps(upright[start : start + BLOCK].reshape(-1, SIDE, SIDE)).astype(np.float64)
            values = value(weights.T @ (P @ weights))  # (maps, K, 7, 7)
            done.append(np.minimum(values, 255).astype(np.uint8).swapaxes(0, 1).reshape(P.shape[1], -1))
        return np.concatenate(done)

    return features


def chain(*steps: str) -> Features:
    """The function that the program applies for `--features`."""
    return lambda images: prepare(images, SIDE, SIDE, steps)


FULL = "**deskew,directions**"
VARIANTS: Mapping[str, Features] = {
    "pixels": chain(),
    "deskewed pixels": chain("deskew"),
    "directions, without deskewing": chain("directions"),
    FULL: chain("deskew", "directions"),
    "... without the root": cells(value=straight),
    "... opposite directions added: 4, not 8": cells(maps=unsigned),
    "... cells that do not overlap": cells(weights=BOXES),
    "... the deskewed pixels in the cells, no directions": cells(maps=pixels, value=average),
}


def ablation(train: ms.Split, test: ms.Split) -> None:
    """Print what each kind of features reaches."""
    few = train.images[:BLOCK]
    assert np.array_equal(cells()(few), chain("deskew", "directions")(few))
    print("| features | numbers | lr | reg | validation | test |\n|---|---|---|---|---|---|")
    for name, features in VARIANTS.items():
        rows = ms.Split.of(features(train.images), train.labels)
        held_out = ms.Split.of(features(test.images), test.labels, name="test")
        models = grid(Settings(), LISTS)
        last = {outcome.settings: outcome for epoch in sweep(rows, models) for outcome in epoch}
        combinations = ranked(list(last.values()))
        print_row(name, rows, held_out, combinations[0])
        if name == FULL:
            usual = Settings.for_features(CHAINS[-1])
            for combination in combinations:
                if (combination.varied["lr"], combination.varied["reg"]) == (usual.lr, usual.reg):
                    print_row("... with the defaults", rows, held_out, combination)


def print_row(name: str, rows: ms.Split, held_out: ms.Split, chosen: Combination) -> None:
    """Print a row of the table: the chosen settings and what they reach, the mean over the seeds."""
    lr, reg = chosen.varied["lr"], chosen.varied["reg"]
    models = [ms.train(rows, lr=lr, reg=reg, seed=seed) for seed in SEEDS]
    test = mean(ms.evaluate(model, held_out).accuracy for model in models)
    print(
        f"| {name} | {rows.images.shape[1]} | {lr:g} | {reg:g} | {percent(chosen.accuracy or 0, 2)} "
        f"| {percent(test, 2)} |",
        flush=True,
    )


def percent(fraction: float, digits: int = 1) -> str:
    """A fraction in percent."""
    return f"{100 * fraction:.{digits}f} %"


# Changed images ---------------------------------------------------------------------------------------------


SQUARE = [(y, x) for y in range(3) for x in range(3)]
CROSS = [(y, x) for y, x in SQUARE if 1 in {y, x}]


def extreme(choose: np.ufunc, neighbours: Sequence[tuple[int, int]]) -> Features:
    """Each pixel becomes the brightest or the darkest of some of the 3 x 3 around it; 0 outside."""

    def change(P: Pixels) -> Pixels:
        padded = np.pad(P, ((0, 0), (1, 1), (1, 1)))
        changed: Pixels = choose.reduce([padded[:, y : y + SIDE, x : x + SIDE] for y, x in neighbours])
        return changed

    return change


def noisy(sigma: float) -> Features:
    """Normal noise is added to each pixel, and the sum is rounded and cut to 0 to 255."""

    def change(P: Pixels) -> Pixels:
        noise = np.random.default_rng(0).normal(0, sigma, P.shape)
        return np.clip(np.rint(P + noise), 0, 255).astype(np.uint8)

    return change


def moved(P: Pixels) -> Pixels:
    """Two pixels to the right and two down."""
    return np.pad(P, ((0, 0), (2, 0), (2, 0)))[:, :SIDE, :SIDE]


CHANGES: Mapping[str, Features] = {
    "as they are": lambda P: P,
    "moved by two pixels, right and down": moved,
    "thickened": extreme(np.maximum, SQUARE),
    "thinned": extreme(np.minimum, CROSS),
    "thinned more": extreme(np.minimum, SQUARE),
    "noise of 20 grey levels": noisy(20),
    "noise of 50 grey levels": noisy(50),
    "half of the contrast": lambda P: P // 2,
}


def robustness(train: ms.Split) -> None:
    """Print how many changed validation rows the program's chains read, trained on rows as they are."""
    _, rows = train_validation_rows(len(train.labels), 5_000, seed=0)
    P, labels = train.images[rows].reshape(-1, SIDE, SIDE), train.labels[rows]
    models = [ms.train(train, features=steps) for steps in CHAINS]
    print(f"| validation rows | {' | '.join(map(name_of, CHAINS))} |\n|---|---|---|---|---|")
    for name, change in CHANGES.items():
        changed = change(P)
        read = [percent((model.predict(changed) == labels).mean()) for model in models]
        print(f"| {name} | {' | '.join(read)} |", flush=True)


def name_of(steps: tuple[str, ...]) -> str:
    """A chain as it is typed."""
    return ",".join(steps) or "pixels"


# What it costs ----------------------------------------------------------------------------------------------


def cost(train: ms.Split, test: ms.Split) -> None:
    """Print the processor time of preparing all rows and of training, each the least of runs in turn."""
    images = np.concatenate([train.images, test.images])
    seconds: dict[tuple[str, ...], list[tuple[float, float]]] = {steps: [] for steps in CHAINS}
    for _ in range(5):
        for steps, of_chain in seconds.items():
            started = time.process_time()
            features = prepare(images, SIDE, SIDE, steps)
            prepared = time.process_time()
            ms.train(ms.Split.of(features[: len(train.labels)], train.labels))
            of_chain.append((prepared - started, time.process_time() - prepared))
    least = {steps: np.min(of_chain, axis=0) for steps, of_chain in seconds.items()}
    unit = least[()][1]
    print(f"1 is {unit:.1f} s of processor time")
    print("| features | bytes a row | preparing 70,000 rows | training, ten epochs |\n|---|---|---|---|")
    for steps, (to_prepare, to_train) in least.items():
        columns = prepare(images[:1], SIDE, SIDE, steps).shape[1]
        print(f"| {name_of(steps)} | {columns} | {to_prepare / unit:.2f} | {to_train / unit:.2f} |")


# One digit, step by step ------------------------------------------------------------------------------------


def walk(image: Pixels) -> None:
    """Print the steps of one image in numbers, and draw them."""
    alpha, cx, cy = (float(v[0]) for v in shear_and_centre(image.reshape(1, SIDE, SIDE).astype(np.float64)))
    print(f"alpha = {alpha:.2f}, cx = {cx:.2f}, cy = {cy:.2f}")
    upright = deskew(image[None], SIDE, SIDE).reshape(SIDE, SIDE)
    print(upright[Y - 1 : Y + 2, X - 1 : X + 2])
    parts = _parts(upright[None])[:, 0]
    print("gx =", int(upright[Y, X + 1]) - int(upright[Y, X - 1]), end="  ")
    print("gy =", int(upright[Y + 1, X]) - int(upright[Y - 1, X]))
    print("parts, clockwise from east:", parts[:, Y, X])
    sums = (TENTS.T @ (parts @ TENTS)).astype(int)
    seen = directions(upright.reshape(1, -1), SIDE, SIDE).reshape(8, CELLS, CELLS)
    print("cell:", Y // C, X // C, "sums:", sums[:, Y // C, X // C], "features:", seen[:, Y // C, X // C])
    draw(image.reshape(SIDE, SIDE), upright, parts, seen)


def draw(image: Pixels, upright: Pixels, parts: Pixels, seen: Pixels) -> None:
    """The image; upright, within its eight maps; within their cells, twice as dark. Dark is much."""
    side, gap = 112, 8
    canvas = Image.new("L", (7 * side + 10 * gap, 3 * side + 4 * gap), 208)

    def put(picture: NDArray[Any], column: int, row: int) -> None:
        tile = Image.fromarray(255 - np.minimum(picture, 255).astype(np.uint8))
        place = gap + column * (side + gap) + gap * ((column + 2) // 3), gap + row * (side + gap)
        canvas.paste(tile.resize((side, side), Image.Resampling.NEAREST), place)

    put(image, 0, 1)
    put(upright, 2, 1)
    put(upright, 5, 1)
    for map_, cells_, (x, y) in zip(parts, seen, DIRECTIONS, strict=True):
        put(map_, 2 + x, 1 + y)
        put(2.0 * cells_, 5 + x, 1 + y)
    canvas.save(PICTURE, optimize=True)


def main() -> None:
    """Print and draw everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    train, test = (ms.open_split(data_dir=folder, split=split) for split in ("train", "test"))
    walk(test.images[ROW])
    print()
    ablation(train, test)
    print()
    robustness(train)
    print()
    cost(train, test)


if __name__ == "__main__":
    main()
