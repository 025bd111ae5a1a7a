"""Scores of maps that no job has left on disk, and jobs that have."""

import numpy as np
import pandas as pd
import yaml

from harmonia.results.gathered_scores import ScoredMaps
from harmonia.results.rows import row_writer, write_summary
from harmonia.results.scores import write_scores


def scored_maps(values, better, cells=None, labels=None):
    """values (images, cells, metrics); better by metric; cells: (source, method) pairs, by default of one source."""
    values = np.asarray(values, float)
    images, count, _ = values.shape
    cells = cells or [("lite0", f"m{number}") for number in range(count)]
    frame = pd.DataFrame(cells, columns=["source", "method"])
    frame = frame.assign(variant="", maps=[f"{one}-{other}" for one, other in cells], random_weights=False)
    return ScoredMaps(
        {"label_policy": "predicted", "data": "woof"},
        [f"n{number}" for number in range(images)],
        np.array(labels if labels is not None else ["dog"] * images),
        frame,
        pd.DataFrame({"metric": list(better), "better": list(better.values())}),
        values,
        pd.DataFrame(columns=["cell", "metric", "reason", "images"]),
        pd.DataFrame(columns=["cell", "flag", "images", "blind"]),
    )


def config(source, method, evaluation, options=None, weights="hub", **more):
    return {
        "source": {"name": source, "family": "lite", "weights": weights},
        "fill": {"name": "black"},
        "method": {"name": method},
        "label": {"name": "predicted"},
        "data": {"name": "woof"},
        "target": {name: {"name": name} for name in ("lite0", "lite1", "lite2")},
        "evaluation": {"name": evaluation, **(options or {})},
    } | more


def plant_scores(folder, source, method, scores, evaluation="deletion", better=None, options=None, **more):
    """A finished job's folder. scores: by score name, a value or (NaN, reason) for each image n0, n1, ..."""
    folder.mkdir(parents=True)
    rows = []
    for metric, values in scores.items():
        for number, value in enumerate(values):
            value, reason = value if isinstance(value, tuple) else (value, "")
            rows.append({"metric": metric, "image_id": f"n{number}", "value": float(value), "reason": reason})
    frame = pd.DataFrame(rows)
    constant = {"path": "x.jpg", "source": source, "method": method, "layer": "", "smooth": 0}
    constant |= {"label_policy": "predicted", "label": "dog", "explained": "dog", "p_explained": 0.5}
    constant |= {"evaluation": evaluation}
    frame = frame.assign(**constant, better=[(better or {}).get(name, "lower") for name in frame["metric"]])
    write_scores(folder, [frame.to_dict("list")])
    (folder / "config.yaml").write_text(yaml.safe_dump(config(source, method, evaluation, options, **more)))
    write_summary(folder, {})
    return folder


def plant_transfer(folder, source, method, right, p_explained, **more):
    """A finished job of transfer to lite0, lite1 and lite2.

    right: by arm (image, area30, blobs30) whether each image is named by every target but the source, which always is
    right; p_explained: the same of the probability.
    """
    folder.mkdir(parents=True)
    with row_writer(folder) as append:
        for target in ("lite0", "lite1", "lite2"):
            for arm, hits in right.items():
                count = len(hits)
                hits = [True] * count if target == source else hits
                constant = {"path": "x.jpg", "source": source, "method": method, "label_policy": "predicted"}
                constant |= {"arm": arm, "fill": "black", "target": target, "label": "dog", "explained": "dog"}
                constant |= {"source_predicted": "dog", "p_label": 0.5, "p_predicted": 0.5, "entropy": 1.0, "flag": ""}
                constant |= {"top5": ["dog"], "kept_area": 0.3}
                columns = {name: [value] * count for name, value in constant.items()}
                columns |= {"image_id": [f"n{number}" for number in range(count)]}
                columns |= {"predicted": ["dog" if hit else "owl" for hit in hits], "p_explained": p_explained[arm]}
                append(columns)
    made = config(source, method, "transfer", **more)
    (folder / "config.yaml").write_text(yaml.safe_dump(made))
    write_summary(folder, {})
    return folder
