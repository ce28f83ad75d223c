"""What can be set: every hyperparameter once, with its default, its range and its help.

The command-line options, the config-file keys, the settings in a receipt and the arguments of `train` are all
made from `Settings`. Defaults and ranges are defined nowhere else.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Any, Self

from mnist_softmax.errors import UsageError, brief

#: The steps that images may go through before the softmax, with their help. A chain names them in this order.
FEATURE_STEPS: Mapping[str, str] = {
    "deskew": "straightens and centres each image",
    "directions": "says in which of eight directions the ink rises, cell by cell",
}

_LARGEST_INTEGER = 2**63 - 1  # the largest that every TOML reader accepts


@dataclass(frozen=True)
class Setting:
    """One hyperparameter: its type, its range and its purpose.

    Attributes
    ----------
    name : of the parameter, the config key and, with dashes, the option.
    kind : float, int or str.
    default : None if it depends on the data; `follows` describes the rule.
    fits : feature step or solver -> the default with it, where that is another.
    solver : the only solver that has it; with another it is None. "" for one that all have.
    low, high : the range of a number, inclusive unless `low_open` or `high_open`.
    choices : the allowed values of a string.
    swept : whether models trained side by side in a sweep may differ in it.
    """

    name: str
    kind: type
    default: Any
    help: str
    low: float = 0
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    choices: tuple[str, ...] = ()
    swept: bool = False
    follows: str = ""
    solver: str = ""
    fits: Mapping[str, Any] = field(default_factory=dict)

    def default_with(self, features: Sequence[str], solver: str) -> Any:
        """The default with a chain of feature steps and a solver; None if the solver has no such setting."""
        if self.solver not in ("", solver):
            return None
        return self.fits.get(solver, self.fits.get(features[-1], self.default) if features else self.default)

    def rule(self, *, sgd_alone: bool = False) -> str:
        """The defaults in words, if there are several; else "". `sgd_alone` leaves out those of solvers."""
        solvers = SETTINGS["solver"].choices if sgd_alone else ()
        others = "".join(f", {value:g} with {key}" for key, value in self.fits.items() if key not in solvers)
        return self.follows or (f"{self.default:g}{others}" if others else "")

    @property
    def limits(self) -> str:
        """The range of a number, in words, without the largest of all integers; "" for a string."""
        if self.choices:
            return ""
        low = f"{'above' if self.low_open else 'at least'} {self.low}"
        if self.high in {math.inf, _LARGEST_INTEGER}:
            return low
        return f"{low} and below {self.high}" if self.high_open else f"from {self.low} to {self.high}"

    @property
    def expected(self) -> str:
        """The allowed values, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        what = "a finite number" if self.kind is float else "an integer"
        of = " of" if self.limits.startswith("at") else ""
        return f"{what}{of} {self.limits}" + " and below 2**63" * (self.high == _LARGEST_INTEGER)

    def check(self, value: object, where: object = None) -> Any:
        """`value` as a plain float, int or str.

        Raises
        ------
        UsageError : wrong type or out of range; the message names the setting, and `where` it was set.
        """
        if self._takes(value):
            return value if value is None or self.choices else self.kind(value)
        wrong = f"wrong value of {self.name}"
        raise UsageError(wrong, where, expected=self.expected, got=brief(value))

    def parse(self, text: str) -> Any:
        """The value of a word on the command line; raises as `check` does."""
        try:
            return self.check(self.kind(text))
        except ValueError:
            return self.check(text)

    def _takes(self, value: Any) -> bool:
        if value is None:
            return self.default is None
        if self.choices:
            return isinstance(value, str) and value in self.choices
        if isinstance(value, bool) or not isinstance(value, Integral if self.kind is int else Real):
            return False
        try:
            number = self.kind(value)
        except OverflowError:  # an integer too large for a float
            return False
        above = number > self.low if self.low_open else number >= self.low
        below = number < self.high if self.high_open else number <= self.high
        return above and below and math.isfinite(number)


def _setting(kind: type, default: Any, text: str, **limits: Any) -> Any:
    if kind is int:
        limits.setdefault("high", _LARGEST_INTEGER)
    return field(default=default, metadata={"kind": kind, "help": text, **limits})


@dataclass(frozen=True)
class Settings:
    """The hyperparameters of a run; this is the table that everything else is made from.

    Those that only one solver has are None with another, which `for_features` sees to.

    Raises
    ------
    UsageError : a value of the wrong type or out of range, or of a setting that the solver has not; it is
        named.
    """

    lr: float = _setting(
        float, 0.2, "Learning rate.", low_open=True, swept=True, solver="sgd", fits={"directions": 4.0}
    )
    reg: float = _setting(
        float, 1e-4, "Lambda of the L2 penalty on W.", swept=True, fits={"directions": 1e-6}
    )
    momentum: float = _setting(
        float,
        0.9,
        "Momentum; 0 is plain gradient descent.",
        high=1,
        high_open=True,
        swept=True,
        solver="sgd",
    )
    schedule: str = _setting(
        str,
        "cosine",
        "How the learning rate changes: cosine falls to 0 at the end.",
        choices=("constant", "cosine"),
        solver="sgd",
    )
    epochs: int = _setting(
        int, 10, "Passes over the training rows.", low=1, high=100_000, fits={"lbfgs": 150}
    )
    batch_size: int = _setting(int, 128, "Rows in a minibatch.", low=1, solver="sgd")
    seed: int = _setting(int, 0, "Random seed of the validation rows and the shuffles.", swept=True)
    val_size: int | None = _setting(
        int,
        None,
        "Rows of the training file held out for validation.",
        follows="min(5000, rows // 10)",
    )
    solver: str = _setting(
        str,
        "sgd",
        "How the loss is lowered: sgd is minibatch gradient descent with momentum, lbfgs full-batch L-BFGS, "
        "which needs no learning rate and comes closer to the minimum.",
        choices=("sgd", "lbfgs"),
    )

    def __post_init__(self) -> None:
        SETTINGS["solver"].check(self.solver)
        for name, setting in SETTINGS.items():
            value = getattr(self, name)
            if setting.solver in ("", self.solver):
                object.__setattr__(self, name, setting.check(value))
            elif value is not None:
                remedy = f"leave it out, or train with {setting.solver}"
                raise UsageError(f"{name} is set, but the solver {self.solver} has none", remedy=remedy)

    @classmethod
    def for_features(cls, features: Sequence[str], **given: Any) -> Self:
        """The settings given, and for all others the defaults with a chain of feature steps and a solver."""
        solver = SETTINGS["solver"].check(given.get("solver", SETTINGS["solver"].default))
        defaults = {name: setting.default_with(features, solver) for name, setting in SETTINGS.items()}
        return cls(**{**defaults, **given})

    def for_rows(self, rows: int) -> "Settings":
        """These settings with `val_size` filled in for a training file of `rows` rows."""
        return self if self.val_size is not None else replace(self, val_size=min(5000, rows // 10))

    def row_passes(self, rows: int) -> int:
        """Epochs times rows trained on, of a training file of `rows` rows: the total of the progress bar."""
        return self.epochs * (rows - (self.for_rows(rows).val_size or 0))


SETTINGS: Mapping[str, Setting] = {
    entry.name: Setting(name=entry.name, default=entry.default, **entry.metadata)
    for entry in fields(Settings)
}


def check_features(chain: object) -> tuple[str, ...]:
    """A chain of feature steps, given as a list, a tuple or one name, as a tuple of names.

    Raises
    ------
    UsageError : a name that is not in `FEATURE_STEPS`, is repeated, or is out of order.
    """
    names = tuple(chain) if isinstance(chain, list | tuple) else (chain,)
    known = list(FEATURE_STEPS)
    places = [known.index(name) if isinstance(name, str) and name in known else -1 for name in names]
    if -1 in places or places != sorted(set(places)):
        expected = f"any of {', '.join(known)}, each at most once, in this order"
        if places == [1, 0]:
            expected = "deskew before directions, which makes no image that deskew could take"
        raise UsageError("wrong features", expected=expected, got=",".join(map(str, names))[:60])
    return names
