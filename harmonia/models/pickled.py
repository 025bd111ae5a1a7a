"""How deep pickled tuples lie in one another, before they are read: a tuple as a key is hashed with all that it holds.

Forty pairs, each of which holds the one before twice, take 400 bytes and are hashed for days.
"""

import pickletools
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

DEEPEST_TUPLE = 20  # tuples inside one another: of tensors they are three
_PICKLES = 5  # before the numbers, in torch's format of before 1.6


def check_tuples(path: Path) -> None:
    """ValueError where a checkpoint of torch's, zip or earlier, has tuples deeper than DEEPEST_TUPLE."""
    stack: list[int | None] = []  # how deep tuples go in what the unpickler would have on its own; None: a mark
    memo: dict[int, int] = {}
    for code, argument in _codes(path):
        taken: list[int | None] = []
        for kind in reversed(code.stack_before):
            if kind is pickletools.stackslice:
                while stack and stack[-1] is not None:
                    taken.append(stack.pop())
            else:
                taken.append(stack.pop() if stack else 0)
        depth = max((one for one in taken if one is not None), default=0) + code.name.startswith("TUPLE")
        if "GET" in code.name:
            depth = memo.get(int(argument), 0)
        elif "PUT" in code.name or code.name == "MEMOIZE":
            memo[len(memo) if argument is None else int(argument)] = (stack[-1] if stack else 0) or 0
        elif code.name == "STOP":
            stack, memo = [], {}
        if depth > DEEPEST_TUPLE:
            raise ValueError(f"it has more than {DEEPEST_TUPLE} tuples in one another")
        stack += [None if kind is pickletools.markobject else depth for kind in code.stack_after]


def _codes(path: Path) -> Iterator[tuple[pickletools.OpcodeInfo, Any]]:
    """As far as they can be read: what is wrong with the rest, torch says."""
    with suppress(Exception):
        for file in _pickles(path):
            for code, argument, _ in pickletools.genops(file):
                yield code, argument


def _pickles(path: Path) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    with archive.open(name) as file:
                        yield file
    else:
        with path.open("rb") as file:
            for _ in range(_PICKLES):
                yield file
