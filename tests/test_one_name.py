"""One name, one thing: no public name at the top of a module of harmonia is defined in another module too."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from paths import REPOSITORY

# defined wherever they are needed, because
EXCEPTIONS = {
    "main": "every door has one",
    "USAGE": "what a door's --help prints",
    "ARGUMENTS": "the words that a door takes",
    "build": "each kind of network has one (harmonia.models)",
    "log": "each module logs under its own name",
    "logger": "each module logs under its own name",
    "T": "a type variable",
}


def defined_names(module: Path) -> Iterator[str]:
    """Of functions, classes and values at the top of a module; nothing that it imports."""
    for statement in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield statement.name
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            of_targets = [node for target in targets for node in ast.walk(target)]
            yield from (
                node.id for node in of_targets if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            )


def test_a_public_name_is_defined_in_one_module():
    package = REPOSITORY / "harmonia"
    modules: dict[str, set[str]] = defaultdict(set)
    for module in sorted(package.rglob("*.py")):
        for name in defined_names(module):
            modules[name].add(str(module.relative_to(package)))
    several = {name for name, of_name in modules.items() if len(of_name) > 1 and not name.startswith("_")}
    assert {name: modules[name] for name in several - EXCEPTIONS.keys()} == {}
    assert several >= EXCEPTIONS.keys()  # an exception that is none any more goes
