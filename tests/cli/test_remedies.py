"""Every message for the user ends with what to do: subject, rule, value; remedy."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import harmonia
from harmonia.cli import refusal
from harmonia.errors import InputError, Within

ROOT = Path(harmonia.__file__).parent

# a text that has been composed elsewhere -> why it has a remedy
COMPOSED = {
    "export/write.py: job.error": "the text of an InputError that reading the job has raised",
    "report/write.py: job.error": "the text of an InputError that reading the job has raised",
    "job/contract.py: f'method={self.method_name}: {error}'": "what the method has refused ends with one",
    "attribution/soundness.py: f'{error}, here method.start.layer=NAME, or method.start=null'": "what follows ends one",
    "api/asked.py: refused": "the line that a command would print",
    "api/asked.py: no_such_option(group, str(name), known, conf_folder())": "the line that a command would print",
}


def refusals(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "InputError":
            yield node


def literal(node: ast.expr) -> str:
    """What is typed of a text; VALUE for what it holds of values."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(literal, node.values))
    if isinstance(node, ast.BinOp):
        return literal(node.left) + literal(node.right)
    return "VALUE"


def without_remedy(source: str) -> list[str]:
    """Of each message that ends without one its code."""
    texts = [call.args[0] for call in refusals(ast.parse(source))]
    return [ast.unparse(text) for text in texts if not literal(text).partition(";")[2].strip()]


@pytest.fixture(scope="module")
def sources():
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}


def test_every_message_for_the_user_ends_with_a_remedy(sources):
    assert sum(source.count("InputError(") for source in sources.values()) > 150  # the law looks at them
    lacking = {f"{name}: {text}" for name, source in sources.items() for text in without_remedy(source)}
    assert lacking == set(COMPOSED)


def test_words_with_brackets_are_quoted_as_a_shell_needs_them(sources):
    """Of the command line; what Python takes lies in api/."""
    trees = [ast.parse(source) for name, source in sources.items() if not name.startswith("api/")]
    remedies = [literal(call.args[0]).partition(";")[2] for tree in trees for call in refusals(tree)]
    assert [remedy for remedy in remedies if re.search(r"(?<!['\w.])[\w.]+=\[", remedy)] == []


@pytest.mark.parametrize("line", [line for _, line in (*refusal._LACKING, *refusal._READINGS)])
def test_what_hydra_refuses_is_said_with_a_remedy(line):
    assert line.partition(";")[2].strip()


@pytest.mark.parametrize(
    ("code", "lacks"),
    [
        ('raise InputError(f"seed must be at least 0, got {seed}; write seed=0")', False),
        ('raise errors.InputError("a " "b; c")', False),
        ('raise InputError(f"seed must be; {remedy}")', False),
        ('raise InputError(f"seed must be at least 0, got {seed}")', True),
        ("raise InputError(f\"seed must be {hint or '; x'}\")", True),
        ('raise InputError("seed; ")', True),
        ("raise InputError(text)", True),
        ('return errors.InputError("no remedy")', True),
    ],
)
def test_the_law_sees_a_message_without_a_remedy(code, lacks):
    assert bool(without_remedy(code)) is lacks


@pytest.mark.parametrize(
    ("value", "usual", "message"),
    [
        (0, None, "method.steps must be at least 1, got 0; write method.steps=1"),
        (0, 20, "method.steps must be at least 1, got 0; write method.steps=20"),
        (-1, 70, "method.steps must be at least 1, got -1; write method.steps=1"),
        (10**30, None, f"method.steps must be at most 60, got {10**30}; write method.steps=60"),
        (float("inf"), None, "method.steps must be at most 60, got inf; write method.steps=60"),
        (float("nan"), None, "method.steps must be at least 1, got nan; write method.steps=1"),
    ],
)
def test_a_number_outside_its_range_names_one_that_fits(value, usual, message):
    for inside in (1, 60, 2.5, None, "auto"):
        Within(1, 60).check("method.steps", inside)
    with pytest.raises(InputError) as refused:
        Within(1, 60).check("method.steps", value, usual)
    assert str(refused.value) == message
