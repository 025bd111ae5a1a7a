"""Parquet files of the store and of jobs: written whole or not at all, errors in one line."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harmonia.errors import InputError
from harmonia.store.files import replacing, utf8
from harmonia.store.guarded import MOST_ARRAYS, regular_file

MOST_ROWS = 50_000_000  # ImageNet's validation images, 31 arms and 30 targets
MOST_VALUES = 1_000_000_000  # representations of 50,000 images by ten networks


@contextmanager
def writing(path: Path, schema: pa.Schema, compression: str = "zstd", **options: Any) -> Iterator[pq.ParquetWriter]:
    """A writer; what it wrote is visible under the name only when the block ends without an exception."""
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression=compression, **options) as file:
        yield file


def write_table(path: Path, table: pa.Table, **options: Any) -> None:
    """A table of arrays that are made already; options are those of pyarrow's writer."""
    with writing(path, table.schema, **options) as file:
        file.write_table(table)


@contextmanager
def reading(path: Path, schema: pa.Schema | None = None) -> Iterator[pq.ParquetFile]:
    """The file, which must have all columns of the schema; what fails while it is read is one line."""
    try:
        # not read_table: it takes a folder called source=e7 for a column
        with pq.ParquetFile(regular_file(path.parent, path.name, MOST_ARRAYS)) as file:
            _check_size(path, file)
            if schema is not None:
                _check_columns(path, file.schema_arrow, schema)
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


def _check_size(path: Path, file: pq.ParquetFile) -> None:
    """By what the file states, before it is read: a few bytes may stand for a thousand million equal rows."""
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    lists = [number for number in range(len(file.schema)) if file.schema.column(number).max_repetition_level]
    for what, most, numbers in (
        ("rows", MOST_ROWS, [group.num_rows for group in groups]),
        ("bytes", MOST_ARRAYS, [group.total_byte_size for group in groups]),
        ("values in lists", MOST_VALUES, [group.column(number).num_values for number in lists for group in groups]),
    ):
        if min(numbers, default=0) < 0 or sum(numbers) > most:
            raise InputError(f"{path} must have at most {most:,} {what}, got {sum(numbers):,}; run the job again")


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
