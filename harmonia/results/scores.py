"""What a job that scores maps leaves: scores.parquet, one row an image and score."""

from typing import Any, cast

import pandas as pd
import pyarrow as pa

from harmonia.results.parquet import REPEATED, RowsFile

SCORES = "scores.parquet"

SCORE_SCHEMA = pa.schema(
    [
        ("image_id", REPEATED),
        ("path", REPEATED),
        ("source", REPEATED),
        ("method", REPEATED),
        ("layer", REPEATED),  # "": the method has none
        ("smooth", pa.int32()),  # side of the Gaussian's kernel in cells of the map; 0: none
        ("label_policy", REPEATED),
        ("label", REPEATED),  # of the image
        ("explained", REPEATED),  # the class that the map is about
        ("p_explained", pa.float32()),  # the source's probability of it on the whole image
        ("evaluation", REPEATED),  # the yaml's name
        ("metric", REPEATED),  # the score's name; one evaluation may have several, and name/part of a score's parts
        ("better", REPEATED),  # higher, lower, or "": the score describes and does not judge
        ("value", pa.float64()),  # NaN where undefined, never 0
        ("reason", REPEATED),  # why it is undefined: the map's flag (zero, constant, non-finite) or the metric's own
    ]
)


_FILE = RowsFile(SCORES, SCORE_SCHEMA)
write_scores, read_scores = _FILE.write, _FILE.read


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
