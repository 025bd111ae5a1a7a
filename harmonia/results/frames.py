"""Frames that modules hand on: a class names its columns once, and `checked` holds a DataFrame to them at the border.

    class Cells(Frame, text="method arm", estimates="retention"):
        mass: float  # positive attribution inside

In the head stand columns whose names say all; estimates are fractions with the bounds of their 95 % intervals beside
them, NAME_low and NAME_high; others=float lets the data name more columns. Annotate with the class what a function
takes and gives: pyright refuses a DataFrame that nothing has checked. Inside it is a plain pandas DataFrame; a class
that inherits has the columns of both.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast, get_type_hints

import pandas as pd

_KINDS = {str: "OUT", int: "iu", float: "fiu", bool: "b", object: "OUTiufbM"}  # numpy's letters for a column's type
_HEADS = {"text": str, "counts": int, "numbers": float, "estimates": float}


class Frame(Any):  # Any: pandas' own annotations do not tell a column from a frame
    """A DataFrame with the columns that the class annotates alone; float may be NaN, object is as its comment says."""

    _others = None

    def __init_subclass__(cls, others: type | None = None, **heads: str):
        named: dict[str, type] = {}
        for head, names in heads.items():
            ends = ("", "_low", "_high") if head == "estimates" else ("",)
            named |= {name + end: _HEADS[head] for name in names.split() for end in ends}
        cls.__annotations__ = named | cls.__annotations__
        cls._others = others or cls._others

    @classmethod
    def columns_of(cls) -> list[str]:
        return list(get_type_hints(cls))

    @classmethod
    def of_lines(cls, lines: Sequence[Sequence[Any] | Mapping[str, Any]] = ()) -> Self:
        """Lines whose values stand in the order of columns_of, or by their names."""
        return cls.checked(pd.DataFrame(list(lines), columns=cls.columns_of()))

    @classmethod
    def checked(cls, frame: pd.DataFrame) -> Self:
        """The frame itself; without lines its columns become of their kinds, so that others can be put below it.

        ValueError where it is no such one.
        """
        kinds = get_type_hints(cls)
        lacking, unknown = ([name for name in a if name not in b] for a, b in ((kinds, frame), (frame, kinds)))
        if cls._others:
            kinds, unknown = kinds | dict.fromkeys(unknown, cls._others), []
        if lacking or unknown:
            raise ValueError(f"{cls.__name__} must have its class's columns, lacks {lacking}, has besides {unknown}")
        for name, kind in kinds.items():
            if frame.empty:
                frame[name] = frame[name].astype(kind)
            elif frame[name].dtype.kind not in _KINDS[kind]:
                raise ValueError(f"{cls.__name__}: column {name} must hold {kind.__name__}, got {frame[name].dtype}")
        return cast(Self, frame)
