"""The Parquet files of a job's folder: written whole or not at all, held to their schema, errors in one line."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harmonia.errors import InputError
from harmonia.store.files import replacing, utf8

ROWS_AT_ONCE = 20_000  # of a file, in memory
REPEATED = pa.dictionary(pa.int32(), pa.string())  # text of few values: pandas' categories


class RowGroups:
    """A file that grows by row groups."""

    def __init__(self, file: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._file, self._schema = file, schema

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """One row group: every column of the schema and no other, equally long. NaN stays NaN, None is a null."""
        names = self._schema.names
        missing, unknown = ([name for name in a if name not in b] for a, b in ((names, columns), (columns, names)))
        if missing or unknown:
            raise ValueError(f"a row group must have its schema's columns; missing {missing}, unknown {unknown}")
        lengths = {name: len(columns[name]) for name in names}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns must be equally long, got {lengths}; repeat the constant ones")
        arrays = [_to_arrow(columns[column.name], column) for column in self._schema]
        self._file.write_table(pa.Table.from_arrays(arrays, schema=self._schema))


@contextmanager
def writing(path: Path, schema: pa.Schema, compression: str = "zstd") -> Iterator[RowGroups]:
    """The file to append to, visible under its name only when the block ends without an exception."""
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression=compression) as file:
        yield RowGroups(file, schema)


def write_table(path: Path, table: pa.Table, **options: Any) -> None:
    """A table of arrays that are made already; options are those of pyarrow's write_table."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", **options)


@contextmanager
def reading(path: Path, schema: pa.Schema | None = None) -> Iterator[pq.ParquetFile]:
    """The file, which must have all columns of the schema; what fails while it is read is one line."""
    try:
        # not read_table: it takes a folder called source=e7 for a column
        with pq.ParquetFile(path) as file:
            if schema is not None:
                _check_columns(path, file.schema_arrow, schema)
            yield file
    except InputError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{path} must be readable Parquet, got: {reason}; run the job again") from error


def read(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """Some columns, or all of the schema, with the schema's types."""
    wanted = pa.schema([schema.field(name) for name in columns or schema.names])
    with reading(path, schema) as file:
        return file.read(columns=wanted.names).select(wanted.names).cast(wanted)


def read_in_pieces(path: Path, schema: pa.Schema, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Some columns as they are stored, some ten thousand rows at a time."""
    with reading(path, schema) as file:
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        # row groups may be as small as one image of one target
        piece_of_group = np.cumsum([0, *sizes])[:-1] // ROWS_AT_ONCE
        for piece in np.unique(piece_of_group):
            yield file.read_row_groups(np.flatnonzero(piece_of_group == piece).tolist(), columns)


def _to_arrow(values: Sequence[Any], column: pa.Field) -> pa.Array:
    if isinstance(values, str):
        raise ValueError(f"column {column.name} must be a sequence of strings, got one string; repeat it")
    if pa.types.is_list(column.type):
        return pa.array(list(values), column.type)
    if not (pa.types.is_string(column.type) or pa.types.is_dictionary(column.type)):
        return pa.array(np.asarray(values, column.type.to_pandas_dtype()))  # from numpy NaN is no null
    texts = pa.array([value if value is None else utf8(value) for value in values], pa.string())
    return texts.dictionary_encode() if pa.types.is_dictionary(column.type) else texts


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
