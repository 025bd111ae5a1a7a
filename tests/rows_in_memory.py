"""Rows that no job has left on disk, and those that one has left."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmonia.results.gathered import CELL_COLUMN, Rows
from harmonia.results.parquet import RowsFile
from harmonia.results.rows import ROWS, TransferRows

OF_ROWS = ["image_id", "label", "predicted", "source_predicted", "p_label", "p_predicted", "kept_area", "flag"]


def as_gathered(*frames: pd.DataFrame, rows_at_once: int = 97) -> Rows:
    """Frames whose columns name cells and hold rows, as gathering.gather would give them, in pieces."""
    frame = pd.concat(frames, ignore_index=True)
    names = [name for name in frame.columns if name not in OF_ROWS]
    cell = frame.groupby(names, sort=False, dropna=False).ngroup().to_numpy()
    cells = frame.iloc[np.unique(cell, return_index=True)[1]][names].reset_index(drop=True)
    ids = {job: list(dict.fromkeys(part["image_id"])) for job, part in frame.groupby("job", sort=False)}
    rows = frame[OF_ROWS].assign(**{CELL_COLUMN: cell})
    return Rows(cells, ids, lambda columns: (rows[n : n + rows_at_once] for n in range(0, len(rows), rows_at_once)))


def columns_of(labels, predicted, **changes):
    count = len(labels)
    columns = {
        "image_id": [f"n{number}" for number in range(count)],
        "path": ["x.jpg"] * count,
        "source": ["e7"] * count,
        "method": ["ss"] * count,
        "label_policy": ["predicted"] * count,
        "arm": ["image"] * count,
        "fill": ["black"] * count,
        "target": ["e6"] * count,
        "label": labels,
        "predicted": predicted,
        "top5": [[name] for name in predicted],
        "explained": predicted,
        "source_predicted": predicted,
        "p_label": [0.5] * count,
        "p_explained": [0.5] * count,
        "p_predicted": [0.5] * count,
        "entropy": [1.0] * count,
        "kept_area": [1.0] * count,
        "flag": [""] * count,
    }
    return columns | changes


def frame(labels, predicted, **given):
    return pd.DataFrame(columns_of(labels, predicted, **given))


def read_rows(job_folder: str | Path) -> pd.DataFrame:
    """A job's rows; names are plain strings."""
    rows: Any = RowsFile(ROWS, TransferRows).read(job_folder)
    return rows.astype(dict.fromkeys(rows.select_dtypes("category"), "str"))


# by name family and parameters
NETWORKS = {"a0": ("fa", 1.0), "a1": ("fa", 1.0), "b0": ("fa", 2.0), "c0": ("fc", 3.0), "d0": ("", np.nan)}


def square(gathered_cell, called=None, sources=(), lacking=(), networks=NETWORKS):
    """Cells of networks, all shown what all keep, and of further sources that guess; what is carried is drawn."""
    generator = np.random.default_rng(0)
    called, whole, parts = called or {}, gathered_cell("1" * 10), []
    for source, target in product([*networks, *sources], networks):
        family, size = networks.get(source, ("fx", 1.0))
        given = {"source": called.get(source, source), "target": called.get(target, target), "job": source}
        given |= {"family": called.get(family, family), "source_parameters": size}
        if source in sources:
            given["source_predicted"] = "cat"
        hits = {"image": 10, "area30": generator.integers(4, 10)}
        hits |= {arm: generator.integers(0, 4) for arm in ("blobs30", "centre30")}
        if (source, target) not in lacking:
            for arm, right in hits.items():
                predicted = np.where(np.arange(10) < right, whole["label"], "owl")
                parts.append(whole.assign(predicted=predicted, arm=arm, **given))
    return parts
