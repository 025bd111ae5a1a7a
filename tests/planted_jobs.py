"""Scores of maps that no job has left on disk, and jobs that left scores, rows of transfer, or cells of mosaics."""

import json

import numpy as np
import pandas as pd
import yaml

from harmonia.results.gathered_scores import ScoredMaps
from harmonia.results.localisation import read_localisation, summarise_localisation, write_aggatt, write_localisation
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


def plant_localisation(run, name, scores=(0.0, 0.2, 0.5, 1.0), k=None, options=None, **columns):
    """A finished job's folder: a scored cell of each mosaic of 2 x 2, all but the first with its label in the top.

    columns: of the rows, beside these; options: of the evaluation.
    """
    folder, count = run / name, len(scores)
    folder.mkdir(parents=True)
    constant = {"cells": 4, "cell": 0, "path": "a.png", "source": "lite0", "method": "grad", "protocol": "gridpg"}
    constant |= {"layer": "input", "label": "dog", "predicted": "dog", "p_explained": 0.5, "mass": 1.0}
    rows = {key: [value] * count for key, value in (constant | {"undefined": False}).items()}
    rows |= {"grid": list(range(count)), "image_id": [f"n{number}" for number in range(count)]}
    rows |= {"in_top": [number > 0 for number in range(count)], "localisation": list(scores)}
    rows |= {key: value if isinstance(value, list) else [value] * count for key, value in columns.items()}
    write_localisation(folder, [rows])
    config = {"source": {"name": "lite0"}, "smooth": {"k": k, "padding": "reflect"}}
    config |= {"evaluation": {"n": 2, **(options or {})}}
    config |= {"logger": {"_target_": "pytorch_lightning.loggers.WandbLogger", "project": "harmonia"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "summary.json").write_text(json.dumps(summarise_localisation(read_localisation(folder))))
    means = np.stack([np.full((8, 8), value, np.float32) for value in (6, 5, 4, 3, 2, np.nan)])
    examples, pictures = np.ones((2, 8, 8), np.float32), np.zeros((2, 3, 8, 8), np.uint8)
    arrays = {"means": means, "examples": examples, "pictures": pictures, "bins": np.array([0, 2])}
    write_aggatt(folder, arrays | {"scores": np.array([1.0, 0.5])})
    return folder
