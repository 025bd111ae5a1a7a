"""A value that lives longer than two lines has a name that says what it holds."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCOPES = (
    ast.Module,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)
SAYS_NOTHING = frozenset({"found", "made", "said", "told", "one", "other"})


def within(scope: ast.AST) -> Iterator[ast.AST]:
    """Every node of scope, up to and with the scopes inside."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, SCOPES):
            yield from within(node)


def bound(scope: ast.AST) -> Iterator[tuple[str, int]]:
    """Names that scope itself binds, with their lines."""
    for node in within(scope):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name, node.lineno


def used(scope: ast.AST, name: str) -> Iterator[int]:
    """Lines where scope and the scopes inside read its value called name."""
    for node in within(scope):
        if isinstance(node, ast.Name) and node.id == name:
            yield node.lineno
        elif isinstance(node, SCOPES) and name not in dict(bound(node)):
            yield from used(node, name)


def nameless(code: str) -> Iterator[tuple[int, str]]:
    """Line and name of values in code that live longer than two lines under a word that says nothing."""
    for scope in ast.walk(ast.parse(code)):
        if not isinstance(scope, SCOPES):
            continue
        lines: dict[str, list[int]] = {}
        for name, line in bound(scope):
            lines.setdefault(name, []).append(line)
        compares = getattr(scope, "name", "").startswith("__")
        for name in SAYS_NOTHING & set(lines) - ({"other"} if compares else set()):
            first = min(lines[name])
            if max([*lines[name], *used(scope, name)]) > first + 1:
                yield first, name


@pytest.mark.parametrize("room", ["harmonia", "tests", "benchmarks"])
def test_a_value_that_lives_longer_than_two_lines_says_what_it_holds(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    assert not [
        f"{file.relative_to(ROOT)}:{line}:{name}"
        for file in files
        for line, name in sorted(nameless(file.read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("def f():\n    found = 1\n    return found", []),
        ("def f():\n    found = 1\n    g()\n    return found", [2]),
        ("def f(one):\n    g()\n    return one", [1]),
        ("def f():\n    for one in g():\n        h()\n        h(one)", [2]),
        ("def f():\n    with g() as told:\n        h()\n        h(told)", [2]),
        ("def f():\n    made = g()\n    def h():\n        return made", [2]),
        ("def f():\n    said = g()\n    h(said)\n    return [said for said in h()]", []),
        ("class C:\n    def __eq__(self, other):\n        g()\n        return other", []),
    ],
)
def test_a_life_reaches_from_the_binding_to_the_last_use(code, lines):
    assert [line for line, _ in nameless(code)] == lines
