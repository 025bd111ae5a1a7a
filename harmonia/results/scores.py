"""What a job that scores maps leaves: scores.parquet, one row an image and score."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harmonia.errors import InputError
from harmonia.store.files import replacing, utf8

SCORES = "scores.parquet"

_REPEATED = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("image_id", _REPEATED),
        ("path", _REPEATED),
        ("source", _REPEATED),
        ("method", _REPEATED),
        ("layer", _REPEATED),  # "": the method has none
        ("smooth", pa.int32()),  # side of the Gaussian's kernel in cells of the map; 0: none
        ("label_policy", _REPEATED),
        ("label", _REPEATED),  # of the image
        ("explained", _REPEATED),  # the class that the map is about
        ("p_explained", pa.float32()),  # the source's probability of it on the whole image
        ("evaluation", _REPEATED),  # the yaml's name
        ("metric", _REPEATED),  # the score's name; one evaluation may have several, and name/part of a score's parts
        ("better", _REPEATED),  # higher, lower, or "": the score describes and does not judge
        ("value", pa.float64()),  # NaN where undefined, never 0
        ("reason", _REPEATED),  # why it is undefined: the map's flag (zero, constant, non-finite) or the metric's own
    ]
)
_FILE_NAMES = ("image_id", "path")


def write_scores(job_folder: str | Path, pieces: Iterable[Mapping[str, Sequence[Any]]]) -> None:
    """All rows, whole or not at all; every piece has every column of SCHEMA."""
    path = Path(job_folder) / SCORES
    with replacing(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        for columns in pieces:
            arrays = [_to_arrow(columns[column.name], column) for column in SCHEMA]
            writer.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))


def _to_arrow(values: Sequence[Any], column: pa.Field) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        texts = [utf8(value) for value in values] if column.name in _FILE_NAMES else list(values)
        return pa.array(texts, pa.string()).dictionary_encode()
    # from numpy: NaN stays NaN, it is not a null
    return pa.array(np.asarray(values, column.type.to_pandas_dtype()))


def read_scores(job_folder: str | Path) -> pd.DataFrame:
    """What write_scores wrote; text columns are categories."""
    path = Path(job_folder) / SCORES
    try:
        # not read_table: it takes a folder called source=e7 for a column
        with pq.ParquetFile(path) as file:
            return file.read(columns=SCHEMA.names).cast(SCHEMA).to_pandas()
    except (OSError, pa.ArrowException, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} must be this version's Parquet, got: {reason}; run the job again") from error


def summarise_scores(rows: pd.DataFrame) -> dict[str, float | int | None]:
    """One job's metrics: of `<source>/<evaluation>/<metric>` mean and median over the maps that have the score, None
    where none has, and how many have it and have it not.
    """
    summary: dict[str, float | int | None] = {}
    for names, group in rows.groupby(["source", "evaluation", "metric"], sort=False, observed=True):
        key = "/".join(map(str, cast(tuple, names)))
        values: Any = group["value"].dropna()
        summary |= {
            key: float(values.mean()) if len(values) else None,
            f"{key}_median": float(values.median()) if len(values) else None,
            f"{key}_images": len(values),
            f"{key}_undefined": len(group) - len(values),
        }
    return summary


def reasons(rows: pd.DataFrame) -> dict[str, int]:
    """Why images have no score and how many, an image of several scores once a reason; the commonest first."""
    undefined: Any = rows[rows["value"].isna()]
    counts = undefined.drop_duplicates(["image_id", "reason"])["reason"].astype(str).value_counts()
    return {str(reason): int(count) for reason, count in counts.items()}
