"""The Parquet files of a job's folder: written whole or not at all, held to their schema, errors in one line."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harmonia.errors import InputError
from harmonia.results.frames import Frame
from harmonia.store.parquet import reading, texts, writing

ROWS_AT_ONCE = 20_000  # of a file, in memory
Name = Annotated[str, pa.dictionary(pa.int32(), pa.string())]  # text of few values: pandas' categories
Text = Annotated[str, pa.string()]
Texts = Annotated[object, pa.list_(pa.string())]
Single = Annotated[float, pa.float32()]
Double = Annotated[float, pa.float64()]
Whole = Annotated[int, pa.int32()]
Flag = Annotated[bool, pa.bool_()]
Columns = Mapping[str, Sequence[Any]]  # by name, of a piece of the rows
_Kind = TypeVar("_Kind", bound=Frame)


@dataclass(frozen=True)
class RowsFile(Generic[_Kind]):
    """A file of rows in a job's folder: its name there, and the frame whose columns, of the types above, it has."""

    name: str
    kind: type[_Kind]
    compression: str = "zstd"

    @cached_property
    def schema(self) -> pa.Schema:
        kinds = get_type_hints(self.kind, include_extras=True)
        return pa.schema([(name, kind.__metadata__[0]) for name, kind in kinds.items()])

    @contextmanager
    def writing(self, job_folder: str | Path) -> Iterator[Callable[[Columns], None]]:
        """What appends a row group to the file, visible under its name only when the block ends without an exception.

        It takes every column of the schema and no other, equally long. NaN stays NaN, None is a null.
        """
        with writing(Path(job_folder) / self.name, self.schema, self.compression) as file:
            yield partial(self._append, file)

    def _append(self, file: pq.ParquetWriter, columns: Columns) -> None:
        names = self.schema.names
        missing, unknown = ([name for name in a if name not in b] for a, b in ((names, columns), (columns, names)))
        if missing or unknown:
            raise ValueError(f"a row group must have its schema's columns; missing {missing}, unknown {unknown}")
        arrays = [_to_arrow(columns[column.name], column) for column in self.schema]
        file.write_table(pa.Table.from_arrays(arrays, schema=self.schema))

    def write(self, job_folder: str | Path, pieces: Iterable[Columns]) -> None:
        """All rows, whole or not at all; every piece has every column."""
        with self.writing(job_folder) as append:
            for columns in pieces:
                append(columns)

    def read(self, job_folder: str | Path) -> _Kind:
        names = self.schema.names
        with reading(Path(job_folder) / self.name, self.schema) as file:
            table = file.read(columns=names).select(names).cast(self.schema)
            table.validate(full=True)  # text, too, which Parquet does not check
            return self.kind.checked(table.to_pandas())

    def read_tables(self, job_folder: str | Path, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Some ten thousand rows at a time, as they are stored."""
        with reading(Path(job_folder) / self.name, self.schema) as file:
            sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
            # row groups may be as small as one image of one target
            piece_of_group = np.cumsum([0, *sizes])[:-1] // ROWS_AT_ONCE
            for piece in np.unique(piece_of_group):
                table = file.read_row_groups(np.flatnonzero(piece_of_group == piece).tolist(), columns)
                table.validate(full=True)  # text, too, which Parquet does not check
                yield table

    def read_pieces(self, job_folder: str | Path, columns: Sequence[str]) -> Iterator[Frame]:
        return (table.to_pandas() for table in self.read_tables(job_folder, columns))


def check_rows(folder: Path, rows: Any, same: Sequence[str], key: Sequence[str], rules: Mapping[str, Any]) -> None:
    """InputError where names differ that are the same in all rows, where a key stands twice, or of a broken rule."""
    broken = {f"have one {name}": rows[name].isna() | (rows[name] != rows[name].iloc[0]) for name in same}
    broken |= {f"be one per {', '.join(key)}": rows.duplicated(list(key)) | rows[list(key)].isna().any(axis=1)}
    if rule := next((rule for rule, of_rows in {**broken, **rules}.items() if of_rows.any()), None):
        raise InputError(f"rows must {rule}, got others in {folder}; run the job again")


def _to_arrow(values: Sequence[Any], column: pa.Field) -> pa.Array:
    if isinstance(values, str):
        raise ValueError(f"column {column.name} must be a sequence of strings, got one string; repeat it")
    if pa.types.is_list(column.type):
        return pa.array(list(values), column.type)
    if not (pa.types.is_string(column.type) or pa.types.is_dictionary(column.type)):
        return pa.array(np.asarray(values, column.type.to_pandas_dtype()))  # from numpy NaN is no null
    names = texts(values)
    return names.dictionary_encode() if pa.types.is_dictionary(column.type) else names
