"""The table of hyperparameters: defaults, ranges and types, and that they stand nowhere else."""

import ast
import importlib
import inspect
import math
from dataclasses import FrozenInstanceError, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import mnist_softmax
from mnist_softmax.cli.main import COMMANDS
from mnist_softmax.errors import UsageError
from mnist_softmax.features import steps
from mnist_softmax.settings import FEATURE_STEPS, SETTINGS, Settings, check_features

PACKAGE = Path(mnist_softmax.__file__).parent
LARGEST = 2**63 - 1

#: Name -> default, values at the ends of the range, values just outside of it.
TABLE: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "lr": (0.2, [5e-324, 1, 1.7e308], [0, -0.1]),
    "reg": (1e-4, [0, 1.7e308], [-5e-324]),
    "momentum": (0.9, [0, math.nextafter(1, 0)], [-0.1, 1, 1.5]),
    "schedule": ("cosine", ["cosine", "constant"], ["linear", "COSINE", "", 0, ["cosine"], b"cosine"]),
    "epochs": (10, [1, 100_000], [0, 100_001]),
    "batch_size": (128, [1, LARGEST], [0, LARGEST + 1]),
    "seed": (0, [0, LARGEST], [-1, LARGEST + 1]),
    "val_size": (None, [None, 0, LARGEST], [-1, LARGEST + 1]),
    "solver": ("sgd", ["sgd"], ["adam", "SGD", "", 0, ["sgd"]]),
}
NUMBERS = [name for name in TABLE if name not in {"schedule", "solver"}]
INTEGERS = ["epochs", "batch_size", "seed", "val_size"]
FRACTIONS = ["lr", "reg", "momentum"]


def refused(name: str, value: object) -> None:
    """`value` is refused by name and in one line, whoever asks."""
    for ask in (SETTINGS[name].check, lambda value: Settings(**{name: value})):
        with pytest.raises(UsageError) as caught:
            ask(value)
        assert str(caught.value).startswith(
            f"wrong value of {name}: expected {SETTINGS[name].expected}, got "
        )
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 200


def test_the_table_is_the_dataclass() -> None:
    assert list(SETTINGS) == [field.name for field in fields(Settings)] == list(TABLE)
    assert list(inspect.signature(Settings).parameters) == list(TABLE)
    assert {name: setting.name for name, setting in SETTINGS.items()} == {name: name for name in TABLE}
    assert [name for name, setting in SETTINGS.items() if setting.swept] == ["lr", "reg", "momentum", "seed"]


@pytest.mark.parametrize("name", TABLE)
def test_defaults_and_ranges(name: str) -> None:
    default, inside, outside = TABLE[name]
    assert getattr(Settings(), name) == SETTINGS[name].default == default
    for value in inside:
        assert getattr(Settings(**{name: value}), name) == value
    for value in outside:
        refused(name, value)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize(
    "value",
    [True, False, "0.1", "10", b"1", [], [1], {}, (1,), 1j, object, math.nan, math.inf, -math.inf, 10**400],
)
def test_other_types_and_numbers_without_end_are_refused(name: str, value: object) -> None:
    refused(name, value)


@pytest.mark.parametrize("name", [name for name in TABLE if name != "val_size"])
def test_none_is_no_value_but_of_what_follows_the_data(name: str) -> None:
    refused(name, None)


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize(
    "value", [1.0, 2.5, np.float64(1), np.array(1), np.array([1]), np.True_, Fraction(1)]
)
def test_integers_are_no_fractions(name: str, value: object) -> None:
    refused(name, value)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_integers_of_numpys_are_taken_as_pythons(name: str, kind: Any) -> None:
    value = 0 if name == "momentum" else 1
    taken = getattr(Settings(**{name: kind(value)}), name)
    assert taken == value
    assert type(taken) is SETTINGS[name].kind


@pytest.mark.parametrize("name", FRACTIONS)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble, Fraction])
def test_fractions_of_any_type_are_taken_as_pythons(name: str, kind: Any) -> None:
    taken = getattr(Settings(**{name: kind(0.25)}), name)
    assert taken == 0.25
    assert type(taken) is float


@pytest.mark.parametrize("value", [np.float32(np.inf), np.float32(np.nan), np.float64(np.inf)])
def test_numbers_of_numpys_that_are_no_finite_floats_are_refused(value: object) -> None:
    refused("lr", value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr", "0.2", 0.2),
        ("lr", "1e-4", 1e-4),
        ("lr", "3", 3.0),
        ("reg", "0", 0.0),
        ("epochs", "10", 10),
        ("seed", str(LARGEST), LARGEST),
        ("schedule", "constant", "constant"),
        *(
            (name, text, None)
            for name in FRACTIONS
            for text in ("", "fast", "nan", "inf", "-1", "1e999", "1,5", "1j")
        ),
        *(
            (name, text, None)
            for name in INTEGERS
            for text in ("", "ten", "1.0", "1e3", "-1", "9" * 5000, "None")
        ),
        ("schedule", "Cosine", None),
    ],
)
def test_a_word_of_a_command_line_is_parsed_or_refused(name: str, text: str, value: Any) -> None:
    if value is None:
        with pytest.raises(UsageError, match=f"wrong value of {name}: expected"):
            SETTINGS[name].parse(text)
    else:
        parsed = SETTINGS[name].parse(text)
        assert (parsed, type(parsed)) == (value, type(value))


def test_what_is_expected_is_said_in_words() -> None:
    assert {name: setting.expected for name, setting in SETTINGS.items()} == {
        "lr": "a finite number above 0",
        "reg": "a finite number of at least 0",
        "momentum": "a finite number of at least 0 and below 1",
        "schedule": "one of constant, cosine",
        "epochs": "an integer from 1 to 100000",
        "batch_size": "an integer of at least 1 and below 2**63",
        "seed": "an integer of at least 0 and below 2**63",
        "val_size": "an integer of at least 0 and below 2**63",
        "solver": "one of sgd, lbfgs",
    }


def test_an_error_says_where_the_value_stands() -> None:
    with pytest.raises(
        UsageError, match=r"^wrong value of lr: my\.toml: expected a finite number above 0, got 'x'$"
    ):
        SETTINGS["lr"].check("x", "my.toml")


@pytest.mark.parametrize(("rows", "held_out"), [(5, 0), (10, 1), (300, 30), (49_999, 4999), (10**6, 5000)])
def test_the_rows_held_out_follow_the_data_unless_they_are_given(rows: int, held_out: int) -> None:
    assert Settings().for_rows(rows) == Settings(val_size=held_out)
    given = Settings(val_size=7)
    assert given.for_rows(rows) is given
    assert SETTINGS["val_size"].follows == "min(5000, rows // 10)"


def test_settings_are_values() -> None:
    assert Settings(lr=1) == Settings(lr=1.0)
    assert len({Settings(lr=1), Settings(lr=np.float64(1)), Settings()}) == 2
    with pytest.raises(FrozenInstanceError):
        Settings().lr = 0.3  # type: ignore[misc]


# Features ---------------------------------------------------------------------------------------------------


def test_the_names_of_the_steps_are_those_that_exist() -> None:
    assert list(steps.STEPS) == list(FEATURE_STEPS)


@pytest.mark.parametrize(
    ("chain", "names"),
    [
        ((), ()),
        ([], ()),
        (["deskew"], ("deskew",)),
        (("deskew",), ("deskew",)),
        ("directions", ("directions",)),
        (["deskew", "directions"], ("deskew", "directions")),
    ],
)
def test_a_chain_of_steps_is_taken_as_a_tuple(chain: Any, names: Any) -> None:
    assert check_features(chain) == names


@pytest.mark.parametrize(
    "chain",
    [
        None,
        1,
        "",
        "sharpen",
        ["sharpen"],
        ["deskew", "deskew"],
        [None],
        [["deskew"]],
        {},
        np.array(["deskew"]),
    ],
)
def test_what_is_no_chain_of_steps_is_refused(chain: Any) -> None:
    with pytest.raises(UsageError, match="wrong features: expected any of deskew, directions, each"):
        check_features(chain)


def test_a_chain_out_of_order_is_refused_with_the_reason() -> None:
    with pytest.raises(
        UsageError, match="deskew before directions, which makes no image that deskew could take"
    ):
        check_features(["directions", "deskew"])


def test_lr_and_reg_follow_the_last_step_of_the_chain_unless_they_are_given() -> None:
    assert Settings.for_features(()) == Settings.for_features(("deskew",)) == Settings()
    for chain in (("directions",), ("deskew", "directions")):
        made = Settings.for_features(chain)
        assert made == Settings(lr=4.0, reg=1e-6)
        assert Settings.for_features(chain, lr=0.2) == Settings(lr=0.2, reg=1e-6)
        assert Settings.for_features(chain, reg=1e-4, seed=3) == Settings(lr=4.0, reg=1e-4, seed=3)
    with pytest.raises(TypeError):
        Settings.for_features((), sharpness=1)


# One place --------------------------------------------------------------------------------------------------


def options_of_settings() -> list[Any]:
    """Every option of a command that bears the name of a setting."""
    commands = {name: importlib.import_module(f"mnist_softmax.cli.{name}").command for name in COMMANDS}
    return [
        pytest.param(option, id=f"{name} {option.opts[0]}")
        for name, command in commands.items()
        for option in command.params
        if option.name in SETTINGS
    ]


def test_train_and_sweep_have_an_option_for_every_setting() -> None:
    found = [parameter.id for parameter in options_of_settings()]
    for command in ("train", "sweep"):
        for name in SETTINGS:
            if (command, name) != ("sweep", "solver"):
                assert f"{command} --{name.replace('_', '-')}" in found


def test_a_sweep_speaks_of_no_solver_that_it_does_not_have() -> None:
    command = importlib.import_module("mnist_softmax.cli.sweep").command
    assert "lbfgs" not in command.get_help(click.Context(command))


@pytest.mark.parametrize("option", options_of_settings())
def test_an_option_has_the_default_and_the_range_of_its_setting(option: click.Option) -> None:
    setting = SETTINGS[option.name or ""]
    context = click.Context(click.Command("train"))

    def taken(value: Any) -> Any:
        converted = option.type.convert(value, option, context)
        return converted[0] if isinstance(converted, tuple) else converted

    if option.default is None:
        rules = filter(None, (setting.rule(), setting.rule(sgd_alone=True)))
        assert any(rule in (option.help or "") for rule in rules)
    else:
        assert taken(str(option.default)) == taken(option.default) == setting.default
    _, inside, outside = TABLE[setting.name]
    for value in inside:
        if value is not None:
            assert taken(str(value)) == value
    for value in outside:
        with pytest.raises(click.BadParameter):
            taken(str(value))


def values_by_name(tree: ast.AST) -> list[tuple[str, ast.expr]]:
    """What is assigned to, passed as, defaulted to or compared with a name, anywhere in a file."""
    found: list[tuple[str, ast.expr]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found += [(keyword.arg or "", keyword.value) for keyword in node.keywords]
        elif isinstance(node, ast.arguments):
            positional = node.posonlyargs + node.args
            with_default = positional[len(positional) - len(node.defaults) :]
            found += [(a.arg, value) for a, value in zip(with_default, node.defaults, strict=True)]
            found += [(a.arg, v) for a, v in zip(node.kwonlyargs, node.kw_defaults, strict=True) if v]
        elif isinstance(node, ast.Assign):
            found += [(target.id, node.value) for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found.append((node.target.id, node.value))
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            names = [side.id if isinstance(side, ast.Name) else getattr(side, "attr", "") for side in sides]
            found += [(name, side) for name in names for side in sides]
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else "" for key in node.keys]
            found += [(str(key), value) for key, value in zip(keys, node.values, strict=True)]
    return found


def test_no_other_file_knows_a_default_or_the_end_of_a_range() -> None:
    """0, 1 and None say whether something is there at all: they are no ranges."""
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        for name, value in values_by_name(ast.parse(path.read_text(encoding="utf-8"))):
            if name not in SETTINGS or path.name == "settings.py" or not isinstance(value, ast.Constant):
                continue
            if value.value in {SETTINGS[name].default, SETTINGS[name].high} - {0, 1, None}:
                wrong.append(f"{path}:{value.lineno}: {name} {value.value!r}")
    assert wrong == []
    # The same search finds them where they are.
    own = values_by_name(ast.parse("def fit(lr=0.2, *, seed=0): Settings(epochs=100_000); momentum = 0.9"))
    assert sorted(name for name, _ in own) == ["epochs", "lr", "momentum", "seed"]
