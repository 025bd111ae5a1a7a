"""What a job leaves on disk: its rows, and the summary that results.summary makes of them.

One row is one image, shown to one target under one arm. The arm says what was shown: "image" is the whole image, "soft"
the image times its map, "area30" the most relevant 30 % of it; controls go by name. A finished job's folder holds
config.yaml, rows.parquet and summary.json; one that failed has its reason in error.txt until it starts again.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmonia.errors import InputError
from harmonia.results.frames import Frame
from harmonia.results.parquet import Name, RowsFile, Single, Text, Texts
from harmonia.store.files import write_text
from harmonia.store.guarded import read_json

ROWS = "rows.parquet"
SUMMARY = "summary.json"
REPRESENTATIONS = "representations.parquet"
CONFIG = "config.yaml"
ERROR = "error.txt"
ENVIRONMENT = "environment.json"


class TransferRows(Frame):
    """Classes go by WordNet id or by the data set's own name, so that two targets' numbering never matters."""

    image_id: Name
    path: Name
    source: Name
    method: Name
    label_policy: Name
    arm: Name
    fill: Name
    target: Name
    label: Text  # null: the data set has none
    predicted: Text  # by the target
    top5: Texts
    explained: Text  # the class the map is about
    source_predicted: Text  # by the source, on the whole image
    p_label: Single  # NaN: the target lacks the class
    p_explained: Single  # NaN: the target lacks the class
    p_predicted: Single
    entropy: Single  # nats
    # mean keep weight over the target's view, 1 for the image arm; of a silhouette the share of its shape
    kept_area: Single
    flag: Text  # the map's: "", "zero", "constant", "non-finite"


ROWS_FILE = RowsFile(ROWS, TransferRows, "snappy")
row_writer, read_tables, read_pieces = ROWS_FILE.writing, ROWS_FILE.read_tables, ROWS_FILE.read_pieces


def with_categories(pieces: Iterable[pd.DataFrame], together: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The pieces as one frame with a number in the place of each name: a tenth of what text takes.

    together: columns that share their categories, so that they can be compared, by a name for these.
    """
    shared = together or {}
    numbers: dict[str, dict[str, int]] = {}  # of names, by their categories
    parts: dict[str, list[np.ndarray]] = {}
    for piece in pieces:
        for name in map(str, piece.columns):
            values: Any = piece[name]
            if not pd.api.types.is_numeric_dtype(values.dtype):
                values = codes_of(values, numbers.setdefault(shared.get(name, name), {}))
            parts.setdefault(name, []).append(np.asarray(values))
    columns: dict[str, Any] = {}
    for name in list(parts):
        joined = np.concatenate(parts.pop(name))
        names = numbers.get(shared.get(name, name))
        columns[name] = joined if names is None else pd.Categorical.from_codes(joined, list(names))
    return pd.DataFrame(columns)


def codes_of(values: Any, numbers: dict[str, int]) -> np.ndarray:
    """The number of each name; new names are given the next ones. -1 for none."""
    codes, names = pd.factorize(values)
    of_names = [numbers.setdefault(name, len(numbers)) for name in names]
    return np.array([*of_names, -1], np.int32)[codes]


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
    path, summary = Path(folder) / SUMMARY, read_json(Path(folder), SUMMARY)
    if not isinstance(summary, dict):
        raise InputError(f"{path} must hold a JSON object, got {type(summary).__name__}; run the job again")
    if odd := next((name for name, value in summary.items() if not isinstance(value, int | float | None)), None):
        raise InputError(f"{path} must hold numbers, got {summary[odd]!r} as {odd}; run the job again")
    return summary
