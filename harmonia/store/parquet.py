"""Parquet files of the store and of jobs: written whole or not at all, errors in one line."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harmonia.errors import InputError
from harmonia.store.files import replacing, utf8
from harmonia.store.footer import stated_values
from harmonia.store.guarded import MOST_ARRAYS, regular_file

MOST_ROWS = 50_000_000  # ImageNet's validation images, 31 arms and 30 targets
MOST_VALUES = 1_000_000_000  # representations of 50,000 images by ten networks
MOST_UNFOLDED = 200  # bytes in memory for each of the file; those of jobs have some ten
_UNFOLDED_BYTES = 1 << 30  # of a smaller file: maps of one value, and rows of a job that failed, take next to none
_WIDTHS = {"BOOLEAN": 1, "INT64": 8, "DOUBLE": 8, "INT96": 12}  # of physical types; texts: where they stand


@contextmanager
def writing(path: Path, schema: pa.Schema, compression: str = "zstd", **options: Any) -> Iterator[pq.ParquetWriter]:
    """A writer; what it wrote is visible under the name only when the block ends without an exception."""
    # opened here: Arrow takes no path that is not UTF-8
    with (
        replacing(path) as temporary,
        open(temporary, "wb") as sink,
        pq.ParquetWriter(sink, schema, compression=compression, **options) as file,
    ):
        yield file


def write_table(path: Path, table: pa.Table, **options: Any) -> None:
    """A table of arrays that are made already; options are those of pyarrow's writer."""
    with writing(path, table.schema, **options) as file:
        file.write_table(table)


@contextmanager
def reading(path: Path, schema: pa.Schema | None = None) -> Iterator["ParquetFile"]:
    """The file, which must have all columns of the schema; what fails while it is read is one line."""
    try:
        # not read_table: it takes a folder called source=e7 for a column
        size = regular_file(path.parent, path.name, MOST_ARRAYS).stat().st_size
        with open(path, "rb") as source, ParquetFile(path, source, size) as file:
            if schema is not None:
                _check_columns(path, file.stored, schema)
            yield file
    except InputError:
        raise
    # damage may show as anything: a value, a length, a code of compression
    except (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path} must be readable Parquet, got: {reason}; run the job again") from error


def texts(values: Iterable[str | None]) -> pa.Array:
    """Names from anywhere as an array; what is no Unicode is escaped."""
    return pa.array([value if value is None else utf8(value) for value in values], pa.string())


class ParquetFile(pq.ParquetFile):
    """A file that takes no memory out of proportion: a few bytes may stand for a thousand million equal values."""

    def __init__(self, path: Path, source: BinaryIO, size: int) -> None:
        self._path, self._most = path, max(_UNFOLDED_BYTES, MOST_UNFOLDED * size)
        plain = pq.ParquetFile(source)
        self.stored = plain.schema_arrow
        columns = [plain.schema.column(number) for number in range(len(plain.schema))]
        in_lists = [column.max_repetition_level > 0 for column in columns]
        # each text comes once, and is counted before it unfolds; those of lists end at 2 GB, which Arrow does not pass
        flat = [column for column, listed in zip(columns, in_lists, strict=True) if not listed]
        texts = [column.path for column in flat if column.physical_type == "BYTE_ARRAY"]
        # one thread, here and below: the interpreter may abort or hang at its end where a thread of Arrow's still
        # holds Python's file (arrow#34314, arrow#50482)
        super().__init__(source, metadata=plain.metadata, read_dictionary=texts, pre_buffer=False)
        self._check_stated(in_lists)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        return self.read_row_groups(range(self.num_row_groups), columns)

    def read_row_groups(self, row_groups: Iterable[int], columns: Sequence[str] | None = None) -> pa.Table:
        """The columns as they are stored."""
        table = super().read_row_groups(list(row_groups), columns, use_threads=False)
        table.validate(full=True)  # Arrow believes a damaged file's numbers of texts, and the process would end
        self._refuse_beyond(self._most, "bytes in memory", [sum(map(_unfolded, table.columns))])
        return table.cast(pa.schema([self.stored.field(name) for name in table.column_names], self.stored.metadata))

    def room(self, shape: Sequence[int]) -> np.ndarray:
        """An array for bytes that the file holds, of no size out of proportion either."""
        self._refuse_beyond(self._most, "bytes in memory", [math.prod(shape)])
        return np.empty(shape, np.uint8)

    def _check_stated(self, in_lists: Sequence[bool]) -> None:
        """Before anything is read."""
        groups = [self.metadata.row_group(number) for number in range(self.num_row_groups)]
        if any(group.num_columns != len(in_lists) for group in groups):  # Arrow would read beyond them
            raise pa.ArrowInvalid("parts with other columns than the file")
        encoded = [group.total_byte_size for group in groups]
        rows = [group.num_rows for group in groups]
        self._refuse_beyond(MOST_ROWS, "rows", rows)
        self._refuse_beyond(MOST_ARRAYS, "bytes", encoded)
        stated = stated_values(self._path) if any(in_lists) else []
        values = [number for of_group in stated for number, listed in zip(of_group, in_lists, strict=True) if listed]
        self._refuse_beyond(MOST_VALUES, "values in lists", values)
        widths = [_WIDTHS.get(self.schema.column(number).physical_type, 4) for number in range(len(in_lists))]
        flat = [
            of_rows * width for of_rows in rows for width, listed in zip(widths, in_lists, strict=True) if not listed
        ]
        of_lists = [number * max(widths, default=4) for number in values]
        self._refuse_beyond(self._most, "bytes in memory", [*encoded, *flat, *of_lists])

    def _refuse_beyond(self, most: int, what: str, numbers: Sequence[int]) -> None:
        if min(numbers, default=0) < 0 or sum(numbers) > most:
            raise InputError(f"{self._path} must have at most {most:,} {what}, got {sum(numbers):,}; run the job again")


def _unfolded(column: pa.ChunkedArray) -> int:
    """Bytes of a column with each text as often as it stands there."""
    if not pa.types.is_dictionary(column.type):
        return column.nbytes
    lengths = [pc.call_function("binary_length", [chunk.dictionary]).take(chunk.indices) for chunk in column.chunks]
    return sum(pc.call_function("sum", [of_chunk]).as_py() or 0 for of_chunk in lengths)


def _check_columns(path: Path, stored: pa.Schema, schema: pa.Schema) -> None:
    """All of them, whichever are read: who reads others of the same job later must not stumble."""
    if missing := [name for name in schema.names if name not in stored.names]:
        raise InputError(f"{path} must have this version's columns, lacks {missing}; run the job again")
    for column in schema:
        kinds = [_kind(of.field(column.name).type) for of in (schema, stored)]
        if kinds[0] != kinds[1]:
            raise InputError(f"{path}: column {column.name} must hold {kinds[0]}, got {kinds[1]}; run the job again")


def _kind(column: pa.DataType) -> str:
    if pa.types.is_dictionary(column):
        return _kind(column.value_type)
    if pa.types.is_string(column) or pa.types.is_large_string(column):
        return "text"
    if pa.types.is_floating(column):
        return "fractions"
    if pa.types.is_list(column) or pa.types.is_large_list(column):
        return f"lists of {_kind(column.value_type)}"
    return str(column)
