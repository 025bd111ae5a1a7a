"""What a job leaves on disk: its rows, and the summary that harmonia.summary makes of them.

One row is one image, shown to one target under one arm. The arm says what was shown: "image" is the
whole image, "soft" the image times its map, "area30" the most relevant 30 % of it; controls go by name.

A job's folder holds config.yaml, rows.parquet and summary.json once it is finished. error.txt holds one
line if it failed; a job that starts again in the same folder removes it. representations.parquet holds
what the targets' last layers see (representations.py).
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harmonia.errors import InputError
from harmonia.store.files import replacing, utf8, write_text

ROWS = "rows.parquet"
SUMMARY = "summary.json"
REPRESENTATIONS = "representations.parquet"
CONFIG = "config.yaml"
ERROR = "error.txt"
ENVIRONMENT = "environment.json"

ROWS_AT_ONCE = 20_000  # of a file, in memory

_REPEATED = pa.dictionary(pa.int32(), pa.string())
# Classes go by WordNet id or by the data set's own name, so that two targets' numbering never matters.
SCHEMA = pa.schema(
    [
        ("image_id", _REPEATED),
        ("path", _REPEATED),
        ("source", _REPEATED),
        ("method", _REPEATED),
        ("label_policy", _REPEATED),
        ("arm", _REPEATED),
        ("fill", _REPEATED),
        ("target", _REPEATED),
        ("label", pa.string()),  # null: the data set has none
        ("predicted", pa.string()),  # by the target
        ("top5", pa.list_(pa.string())),
        ("explained", pa.string()),  # the class the map is about
        ("source_predicted", pa.string()),  # by the source, on the whole image
        ("p_label", pa.float32()),  # NaN: the target lacks the class
        ("p_explained", pa.float32()),  # NaN: the target lacks the class
        ("p_predicted", pa.float32()),
        ("entropy", pa.float32()),  # nats
        # mean keep weight over the target's view, 1 for the image arm; of a silhouette the share of its shape
        ("kept_area", pa.float32()),
        ("flag", pa.string()),  # the map's: "", "zero", "constant", "non-finite"
    ]
)


class RowWriter:
    """A job's rows, visible under their name only when the block ends without an exception."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._open = ExitStack()

    def __enter__(self) -> "RowWriter":
        with ExitStack() as opening:
            temporary = opening.enter_context(replacing(self._path))
            self._writer = opening.enter_context(pq.ParquetWriter(temporary, SCHEMA))
            self._open = opening.pop_all()
        return self

    def append(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """One row group: every column of SCHEMA and no other."""
        missing = [name for name in SCHEMA.names if name not in columns]
        unknown = [name for name in columns if name not in SCHEMA.names]
        if missing or unknown:
            raise ValueError(
                f"rows must have the columns of harmonia.results.SCHEMA; missing {missing}, unknown {unknown}"
            )
        lengths = {name: len(columns[name]) for name in SCHEMA.names}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns must be equally long, got {lengths}; repeat the constant ones")
        arrays = [_to_arrow(columns[column.name], column) for column in SCHEMA]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)


def _to_arrow(values: Sequence[Any], column: pa.Field) -> pa.Array:
    if pa.types.is_floating(column.type):
        return pa.array(np.asarray(values, dtype=np.float32))  # NaN stays NaN: it is not a null
    if isinstance(values, str):
        raise ValueError(f"column {column.name} must be a sequence of strings, got one string; repeat it")
    if pa.types.is_dictionary(column.type):
        return pa.array([utf8(value) for value in values], pa.string()).dictionary_encode()
    return pa.array(list(values), column.type)


def read_table(job_folder: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A job's rows, or some columns of them, as they are stored."""
    path = Path(job_folder) / ROWS
    wanted = list(SCHEMA.names if columns is None else columns)
    # Not read_table: it takes a folder called source=e7 for a column.
    with _readable(path), pq.ParquetFile(path) as file:
        _check_columns(path, file.schema_arrow)
        return file.read(columns=wanted)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} must be readable Parquet, got: {reason}; run the job again") from error


def _check_columns(path: Path, found: pa.Schema) -> None:
    """All of them, whichever are read: who reads others of the same job later must not stumble."""
    if missing := [name for name in SCHEMA.names if name not in found.names]:
        raise InputError(f"{path} must have this version's columns, lacks {missing}; run the job again")
    for column in SCHEMA:
        kinds = [_kind(schema.field(column.name).type) for schema in (SCHEMA, found)]
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


def read_rows(job_folder: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A job's rows, or some columns of them; names are plain strings."""
    table = read_table(job_folder, columns)
    plain = [
        pa.field(column.name, pa.string()) if pa.types.is_dictionary(column.type) else column for column in table.schema
    ]
    return table.cast(pa.schema(plain)).to_pandas()


def read_pieces(job_folder: str | Path, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Some columns of a job's rows, some ten thousand rows at a time; repeated names are categories."""
    return (table.to_pandas() for table in read_tables(job_folder, columns))


def read_tables(job_folder: str | Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The same as they are stored."""
    path = Path(job_folder) / ROWS
    with _readable(path), pq.ParquetFile(path) as file:
        _check_columns(path, file.schema_arrow)
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        # row groups may be as small as one image of one target
        part_of_group = np.cumsum([0, *sizes])[:-1] // ROWS_AT_ONCE
        for part in np.unique(part_of_group):
            yield file.read_row_groups(np.flatnonzero(part_of_group == part).tolist(), columns)


def with_categories(pieces: Iterable[pd.DataFrame], together: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The pieces as one frame with a number in the place of each name: a tenth of what text takes.

    together: columns that share their categories, so that they can be compared, by a name for these.
    """
    shared = together or {}
    known: dict[str, dict[str, int]] = {}
    parts: dict[str, list[np.ndarray]] = {}
    for piece in pieces:
        for name in map(str, piece.columns):
            values: Any = piece[name]
            if not pd.api.types.is_numeric_dtype(values.dtype):
                values = codes_of(values, known.setdefault(shared.get(name, name), {}))
            parts.setdefault(name, []).append(np.asarray(values))
    columns: dict[str, Any] = {}
    for name in list(parts):
        joined = np.concatenate(parts.pop(name))
        names = known.get(shared.get(name, name))
        columns[name] = joined if names is None else pd.Categorical.from_codes(joined, list(names))
    return pd.DataFrame(columns)


def codes_of(values: Any, known: dict[str, int]) -> np.ndarray:
    """The number of each name; new names are given the next ones. -1 for none."""
    codes, names = pd.factorize(values)
    numbers = [known.setdefault(name, len(known)) for name in names]
    return np.array([*numbers, -1], np.int32)[codes]


def write_summary(folder: str | Path, metrics: Mapping[str, float | int | None]) -> None:
    """summary.json: sorted, null where a metric is undefined or not finite."""
    clean = {name: _plain(value) for name, value in metrics.items()}
    text = json.dumps(clean, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(Path(folder) / SUMMARY, text + "\n")


def _plain(value: Any) -> float | int | None:
    if value is None:
        return None
    return int(value) if isinstance(value, (int, np.integer)) else float(value) if math.isfinite(value) else None


def read_summary(folder: str | Path) -> dict[str, float | int | None]:
    """What write_summary wrote."""
    path = Path(folder) / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} must be readable JSON, got: {error}; run the job again") from error
    if not isinstance(summary, dict):
        raise InputError(f"{path} must hold a JSON object, got {type(summary).__name__}; run the job again")
    if odd := next((name for name, value in summary.items() if not isinstance(value, int | float | None)), None):
        raise InputError(f"{path} must hold numbers, got {summary[odd]!r} as {odd}; run the job again")
    return summary
