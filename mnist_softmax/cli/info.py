"""``mnist-softmax info``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mnist_softmax.cli import inputs, options, output, types
from mnist_softmax.settings import SETTINGS

if TYPE_CHECKING:
    from mnist_softmax.records.receipt import Epoch, Receipt


@options.command(
    "info",
    "Tell how weights were trained, or what is installed.",
    "mnist-softmax info weights.npy",
    "mnist-softmax info",
)
@click.argument("weights", type=types.WEIGHTS, required=False)
@options.cache_dir
@options.as_json
def command(weights: Path | None, cache_dir: Path | None, json: bool) -> None:
    """Print the receipt of WEIGHTS: data, features, settings, loss, history and versions.

    With --json the receipt is printed as it is in the file. Without WEIGHTS, describe the installation, as a
    report of a fault should: versions, BLAS and its kernel, cores, extras, and the datasets in the cache.
    """
    if weights:
        _print_receipt(weights, json)
        return
    from mnist_softmax.data.cache import default_cache_dir
    from mnist_softmax.runs.installation import describe

    facts = describe(cache_dir or default_cache_dir())
    if json:
        output.emit_json(facts)
    else:
        _print_lines(_installation(facts))


def _print_receipt(weights: Path, json: bool) -> None:
    from mnist_softmax.records.receipt import encode

    model, receipt = inputs.load_with_receipt(weights)
    if json:
        output.emit_json(encode(receipt))
        return
    rows, classes = model.array.shape
    output.emit(f"{weights}: {rows} x {classes} float32, {weights.stat().st_size} bytes with its receipt")
    _print_lines(_facts(receipt))
    _print_lines([("SHA-256 of the file", model.sha256)])


def _print_lines(lines: "Iterator[tuple[str, str]] | list[tuple[str, str]]") -> None:
    for name, value in lines:
        output.emit(f"{name:<23} {value}")


def _facts(receipt: "Receipt") -> Iterator[tuple[str, str]]:
    """Name and value of each line about a receipt."""
    yield "trained on", f"{receipt.rows} rows of {receipt.source.label}"
    yield "images", f"{receipt.image_height} x {receipt.image_width} pixels"
    yield "classes", ", ".join(receipt.class_names)
    chain = ", then ".join(receipt.features) or "the pixels themselves"
    yield "features", f"{chain}: {receipt.columns} numbers an image"
    for name, value in receipt.settings.items():
        if value is not None:  # of another solver
            yield name, f"{value!s:<10}  {SETTINGS[name].help}"
    yield "loss, with the penalty", f"{receipt.loss:.6f}"
    yield "accuracy on those rows", output.percent(receipt.train_accuracy)
    yield "validation accuracy", output.percent(receipt.validation_accuracy)
    yield from _history(receipt.history)
    yield from receipt.versions.items()
    yield from ((name, f"SHA-256 {sha256}") for name, sha256 in receipt.files.items())
    yield "SHA-256 of the array", receipt.array_sha256


def _history(history: "list[Epoch]") -> Iterator[tuple[str, str]]:
    """The first epoch, the best on the validation rows, and the last."""
    best = max(history, key=lambda entry: entry.validation_accuracy or 0, default=None)
    for entry in dict.fromkeys([*history[:1], *filter(None, [best]), *history[-1:]]):
        text = f"loss {entry.running_loss:.4f}"
        if entry.validation_loss is not None:
            text += f", validation loss {entry.validation_loss:.4f}"
            text += f", validation accuracy {output.percent(entry.validation_accuracy)}"
        yield (
            f"epoch {entry.epoch}",
            text + ", the best" * (entry is best and entry.validation_loss is not None),
        )


def _installation(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and value of each line about an installation."""
    yield output.PROGRAM, f"{facts['mnist_softmax']}, in {facts['location']}"
    yield "Python", f"{facts['python']}, {facts['platform']}"
    yield "NumPy", f"{facts['numpy']}, BLAS {facts['blas']}"
    yield "cores", str(facts["cores"])
    for extra, packages in {"libraries": facts["libraries"], **facts["extras"]}.items():
        known = ", ".join(f"{name} {version or 'missing'}" for name, version in packages.items())
        yield extra if extra == "libraries" else f"extra {extra}", known or "unknown, as it is not installed"
    cache = facts["cache"]
    yield "cache", f"{cache['path']}, {_megabytes(cache['bytes'])}"
    for name, state in cache["datasets"].items():
        size = f", {_megabytes(state['bytes'])}" if state["bytes"] else ""
        remedy = f"; try mnist-softmax download --dataset {name}" if state["state"].startswith("inc") else ""
        yield name, f"{state['state']}{size}{remedy}"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
