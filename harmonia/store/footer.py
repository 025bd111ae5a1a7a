"""How many values the columns of a Parquet file hold, from its footer's bytes.

Arrow tells it, too, but ends the process where damage has hit what it keeps beside that number.
Sources: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md and
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift, whose numbers of fields these are.
"""

import io
from pathlib import Path
from typing import Any, BinaryIO

_GROUPS, _COLUMNS, _FACTS, _NUMBER = 4, 1, 3, 5  # of the file, of a row group, of a column's part, of its facts
_DEEPEST = 20  # structures inside one another; Parquet has six
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_WHOLE = (4, 5, 6)


def stated_values(path: Path) -> list[list[int]]:
    """By row group and column; ValueError or LookupError where the footer is none."""
    with path.open("rb") as file:
        file.seek(-8, io.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, io.SEEK_END)
        footer = _struct(io.BytesIO(file.read(length)), 0)
    return [[column[_FACTS][_NUMBER] for column in group[_COLUMNS]] for group in footer.get(_GROUPS, ())]


def _struct(data: BinaryIO, depth: int) -> dict[int, Any]:
    """Values by the number of their field."""
    if depth > _DEEPEST:
        raise ValueError(f"a footer with more than {_DEEPEST} structures inside one another")
    fields: dict[int, Any] = {}
    field = 0
    while head := data.read(1)[0]:
        field = field + (head >> 4) if head >> 4 else _signed(data)
        kind = head & 15
        fields[field] = kind == _TRUE if kind in (_TRUE, _FALSE) else _value(data, kind, depth + 1)
    return fields


def _value(data: BinaryIO, kind: int, depth: int) -> Any:
    if kind == _STRUCT:
        return _struct(data, depth)
    if kind in _WHOLE:
        return _signed(data)
    if kind == _BINARY:
        return data.read(_varint(data))
    if kind in (_TRUE, _FALSE, _BYTE):
        return data.read(1)[0]
    if kind == _DOUBLE:
        return data.read(8)
    if kind in (_LIST, _SET):
        head = data.read(1)[0]
        count = _varint(data) if head >> 4 == 15 else head >> 4
        return [_value(data, head & 15, depth) for _ in range(count)]
    if kind == _MAP and not _varint(data):  # Parquet has none
        return {}
    raise ValueError(f"a footer with values of kind {kind}")


def _signed(data: BinaryIO) -> int:
    number = _varint(data)
    return number >> 1 ^ -(number & 1)


def _varint(data: BinaryIO) -> int:
    number = shift = 0
    while (byte := data.read(1)[0]) & 128:
        number |= (byte & 127) << shift
        shift += 7
        if shift > 63:
            raise ValueError("a footer with numbers of more than 64 bits")
    return number | byte << shift
