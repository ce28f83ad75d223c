"""The history of training as lines of text: for `mnist-softmax show --history` and the end of `train`."""

from collections.abc import Iterator

from mnist_softmax.records.receipt import Receipt
from mnist_softmax.views import terminal
from mnist_softmax.views.screen import Screen


def history(here: Screen, receipt: Receipt) -> Iterator[str]:
    """How loss and accuracy went by epoch: figures with a sparkline beside them or, of many epochs, below."""
    entries = receipt.history
    series: list[tuple[str, list[float | None], str]] = [
        ("training loss", [entry.running_loss for entry in entries], "lowest"),
        ("validation loss", [entry.validation_loss for entry in entries], "lowest"),
        ("validation accuracy", [entry.validation_accuracy for entry in entries], "highest"),
    ]
    rows = []
    for name, values, best in series:
        present = [value for value in values if value is not None]
        if present:
            found = max(present) if best == "highest" else min(present)
            epoch = entries[values.index(found)].epoch
            first, last, extreme = (
                f"{100 * value:.2f} %" if best == "highest" else f"{value:#.4g}"
                for value in (present[0], present[-1], found)
            )
            rows.append((f"{name:<19}  {first} to {last}", values, f"{best} {extreme} in epoch {epoch}"))
    widest = max(len(figures) for figures, _, _ in rows)
    beside = widest + len(entries) + max(len(best) for _, _, best in rows) + 4 <= here.columns
    yield from here.sentence(f"{len(entries)} epoch{'s' * (len(entries) != 1)} of {receipt.source.label}")
    for figures, values, best in rows:
        line = terminal.sparkline(values, here.columns, here.encoding)
        if beside:
            yield f"{figures:<{widest}}  {line}  {best}"
        else:
            yield from (*here.sentence(f"{figures}, {best}"), line)
