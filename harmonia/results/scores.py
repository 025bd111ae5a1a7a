"""What a job that scores maps leaves: scores.parquet, one row an image and score."""

from typing import cast

from harmonia.results.frames import Frame
from harmonia.results.parquet import Double, Name, RowsFile, Single, Whole

SCORES = "scores.parquet"


class ScoreRows(Frame):
    """A line per image and score."""

    image_id: Name
    path: Name
    source: Name
    method: Name
    layer: Name  # "": the method has none
    smooth: Whole  # side of the Gaussian's kernel in cells of the map; 0: none
    label_policy: Name
    label: Name  # of the image
    explained: Name  # the class that the map is about
    p_explained: Single  # the source's probability of it on the whole image
    evaluation: Name  # the yaml's name
    metric: Name  # the score's name; one evaluation may have several, and name/part of a score's parts
    better: Name  # higher, lower, or "": the score describes and does not judge
    value: Double  # NaN where undefined, never 0
    reason: Name  # why it is undefined: the map's flag (zero, constant, non-finite) or the metric's own


SCORES_FILE = RowsFile(SCORES, ScoreRows)
write_scores, read_scores = SCORES_FILE.write, SCORES_FILE.read


def summarise_scores(rows: ScoreRows) -> dict[str, float | int | None]:
    """One job's metrics: of `<source>/<evaluation>/<metric>` mean and median over the maps that have the score, None
    where none has, and how many have it and have it not.
    """
    summary: dict[str, float | int | None] = {}
    for names, group in rows.groupby(["source", "evaluation", "metric"], sort=False, observed=True):
        key = "/".join(map(str, cast(tuple, names)))
        values = group["value"].dropna()
        summary |= {
            key: float(values.mean()) if len(values) else None,
            f"{key}_median": float(values.median()) if len(values) else None,
            f"{key}_images": len(values),
            f"{key}_undefined": len(group) - len(values),
        }
    return summary


def reasons(rows: ScoreRows) -> dict[str, int]:
    """Why images have no score and how many, an image of several scores once a reason; the commonest first."""
    undefined = rows[rows["value"].isna()]
    counts = undefined.drop_duplicates(["image_id", "reason"])["reason"].astype(str).value_counts()
    return {str(reason): int(count) for reason, count in counts.items()}
