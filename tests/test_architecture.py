"""The shape of the package: which room imports which, and what only the command line does."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import mnist_softmax

PACKAGE = Path(mnist_softmax.__file__).parent

#: A room imports only from the rooms before it, and from itself.
ROOMS = (
    *("errors", "version", "settings", "softmax", "files", "blas", "rows", "features", "data", "training"),
    *("scoring", "proof", "records", "runs", "views", "estimator", "cli"),
)


def imports_of(path: Path) -> Iterator[str]:
    """The rooms that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mnist_softmax":
            rest = (node.module or "").removeprefix("mnist_softmax").strip(".")
            yield from [rest.split(".")[0]] if rest else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("mnist_softmax.")]
            yield from (name.split(".")[1] for name in names)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_rooms_before_it(room: str) -> None:
    allowed = {*ROOMS[: ROOMS.index(room) + 1], "__version__"}
    files = list((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]
    for path in files:
        if path.exists():
            assert set(imports_of(path)) <= allowed, path


def test_every_module_has_a_room_and_every_room_answers_a_question() -> None:
    found = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir()}
    assert found - {"__init__", "__main__", "__pycache__", "py"} == set(ROOMS)
    for room in ROOMS:
        if (PACKAGE / room).is_dir():
            assert "?" in (ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())) or "")


def test_the_reading_order_and_the_architecture_page_name_every_room() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    for room in ROOMS:
        assert f"``{room}``" in (mnist_softmax.__doc__ or "")
        assert f"\n{room}/ " in page or f"\n{room}.py " in page
    for module in PACKAGE.rglob("*.py"):
        if module.parent.name not in {"report", "cli", "sample"} and not module.stem.startswith("__"):
            assert module.stem in page, f"{module} is missing in docs/architecture.md"


def test_no_chain_of_imports_is_longer_than_eight_modules() -> None:
    modules = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")}

    def imported(path: Path) -> Iterator[str]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mnist_softmax."):
                module = (node.module or "").removeprefix("mnist_softmax.").replace(".", "/")
                yield from (f"{module}/{alias.name}" for alias in node.names)
                yield from (module, f"{module}/__init__")

    @cache
    def length(module: str) -> int:
        below = {name for name in imported(modules[module]) if name in modules and name != module}
        return 1 + max(map(length, below), default=0)

    assert max(map(length, modules)) <= 8


def test_only_the_command_line_imports_click_and_tqdm_prints_or_exits() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "cli" or path.stem == "make":
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"^\s*(from|import) (click|tqdm)|^\s*print\(|sys\.exit|sys\.stdout", text, re.MULTILINE
        ), path
