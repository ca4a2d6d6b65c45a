"""Functions that one can hold in the head."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "negmine"
MOST_LINES = 60
#: How a docstring says why a function is long, and that somebody thought about it.
REASON = "Long because"


def functions(source: str) -> Iterator[tuple[str, int, str]]:
    """(name, lines without its docstring, docstring) of every function, methods included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            told = ast.get_docstring(node) or ""
            first = node.body[0]
            if told and first.end_lineno is not None:
                lines -= first.end_lineno - first.lineno + 1
            yield node.name, lines, told


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_function_is_long_without_a_reason(path: Path) -> None:
    for name, lines, told in functions(path.read_text()):
        assert lines <= MOST_LINES or REASON in told, f"{path}: {name} has {lines} lines"


def test_a_long_function_is_found() -> None:
    body = "    x = 1\n" * MOST_LINES
    assert [lines for _, lines, _ in functions(f"def f():\n{body}")] == [MOST_LINES + 1]
    told = next(functions(f'def f():\n    """Long because it is.\n    """\n{body}'))
    assert told[1] == MOST_LINES + 1
    assert REASON in told[2]
