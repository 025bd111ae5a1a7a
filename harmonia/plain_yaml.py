"""YAML from anywhere, before it is built: a few lines of aliases, brackets or colons may unfold without end.

Source: https://en.wikipedia.org/wiki/Billion_laughs_attack, of which YAML's aliases are a form.
"""

import math

import yaml

MOST_TEXT = 1 << 20  # bytes of a file: a thousandth of it is usual, and it may take a second
DEEPEST = 50  # lists and mappings inside one another
MOST_COLONS = 1000  # 1:1:1 ... is a number to base 60, and takes minutes

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_yaml(text: str, most_aliased: int = 0) -> None:
    """yaml.YAMLError of what cannot be parsed, is too deep, or whose aliases stand for more values than most_aliased.

    Example: ``check_yaml("a: &a [1, 2]\\nb: *a", 3)`` passes, as the alias stands for a list and two values.
    """
    sizes: dict[str | None, float] = {}  # by anchor
    opened: list[tuple[str | None, float]] = []  # anchors of the collections around, and the values before each
    values = aliased = 0.0
    for event in yaml.parse(text, LOADER):
        anchor, before = getattr(event, "anchor", None), values
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
        elif isinstance(event, yaml.AliasEvent):
            size = sizes.get(anchor, math.inf)  # of one that holds itself
            values, aliased = values + size, aliased + size
        elif isinstance(event, yaml.NodeEvent):
            values += 1
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((anchor, before))
        elif not isinstance(event, yaml.AliasEvent):
            sizes[anchor] = values - before
        if aliased > most_aliased or len(opened) > DEEPEST:
            raise yaml.YAMLError(
                f"aliases of more than {most_aliased} values, or more than {DEEPEST} lists and mappings in one another"
            )
        if isinstance(event, yaml.ScalarEvent) and event.value.count(":") > MOST_COLONS:
            raise yaml.YAMLError(f"more than {MOST_COLONS} colons in a value")
