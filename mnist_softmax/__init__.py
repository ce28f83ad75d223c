"""Softmax regression on MNIST, with the gradient derived by hand.

Each folder is a room that answers one question. Read them in this order:

1. ``softmax``    what is the maths? The derivation as functions
2. ``training``   how is the loss lowered? ``kernel`` is the fast form of one step, ``descent`` the epochs
3. ``proof``      is the derivation right? Every equation of docs/derivation.md, checked numerically
4. ``scoring``    how good is it?
5. ``features``   what does the model see?
6. ``data``       where do rows come from?
7. ``records``    what stays on disk?
8. ``runs``       who does a whole job? From the data to the file
9. ``views``      how do we look at it?
10. ``estimator`` how do others use it? scikit-learn's interface over ``training``
11. ``cli``       what does the user type?

``settings`` is the table of hyperparameters, ``files`` touches the disk, ``blas`` multiplies matrices,
``rows`` gathers their rows, ``errors`` has one exception per exit code, ``version`` the number. The library
neither prints nor exits.

In Python::

    import mnist_softmax as ms
    model = ms.train(ms.open_split("mnist", "train"), lr=0.2, reg=1e-4)
    ms.evaluate(model, ms.open_split("mnist", "test")).accuracy
    model.save("weights.npy")
    ms.load("weights.npy").predict(images)
"""

from typing import TYPE_CHECKING, Any

from mnist_softmax.version import __version__

if TYPE_CHECKING:
    from mnist_softmax.data.open import open_split
    from mnist_softmax.data.split import Split
    from mnist_softmax.runs.fit import train
    from mnist_softmax.runs.model import Model, load
    from mnist_softmax.runs.score import evaluate

__all__ = ["Model", "Split", "__version__", "evaluate", "load", "open_split", "train"]

#: The module of each exported name. Names are imported on first use, because importing NumPy is slow.
_HOMES = {
    "Model": "runs.model",
    "Split": "data.split",
    "evaluate": "runs.score",
    "load": "runs.model",
    "open_split": "data.open",
    "train": "runs.fit",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
