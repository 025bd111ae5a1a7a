"""A job's metrics, computed from its rows: accuracy, F1, retention, calibration of every target and arm."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmonia.arms import IMAGE_ARM, matched_control
from harmonia.errors import InputError
from harmonia.results.rows import read_pieces, with_categories

NUM_BINS = 15  # of the calibration error; Guo et al. 2017


def summarise_job(job_folder: str | Path) -> dict[str, float | int | None]:
    """summarise of a job's rows, one target at a time and names as numbers: they need not fit into memory as text."""
    targets: dict[str, None] = {}
    for piece in read_pieces(job_folder, ["target"]):
        targets |= dict.fromkeys(piece["target"])
    summary: dict[str, float | int | None] = {}
    for target in targets:
        summary |= summarise(_measured_rows(job_folder, target))
    return summary


def _measured_rows(job_folder: str | Path, target: str) -> pd.DataFrame:
    """The columns that metrics are made of, with_in_top5."""
    names = ["target", "arm", "image_id", "label", "predicted"]
    numbers = ["p_label", "p_explained", "p_predicted", "kept_area"]
    pieces = (piece[piece["target"] == target] for piece in read_pieces(job_folder, [*names, *numbers, "top5"]))
    return with_categories(map(with_in_top5, pieces), {"label": "class", "predicted": "class"})


def with_in_top5(rows: Any) -> pd.DataFrame:
    """in_top5, whether the label is among the five best classes, in place of top5, their names."""
    in_top5 = np.array([label in five for label, five in zip(rows["label"], rows["top5"], strict=True)], bool)
    return rows.drop(columns="top5").assign(in_top5=in_top5)


def summarise(rows: pd.DataFrame) -> dict[str, float | int | None]:
    """One job's metrics, `<target>/<arm>/<metric>`: fractions, and None where one is undefined, never 0.

    rows: as with_in_top5 gives them.
    accuracy, top5, f1_weighted, f1_macro: over the images that have a label. F1 takes the argmax over all
        the target's classes and averages over the classes present among the labels, by support or equally.
    p_label, p_explained: means over the images whose class the target has.
    ece: gap between the confidence and the accuracy of the top-1 class, 15 bins, l1.
    kept_area, images: the mean keep weight and the number of rows.
    retention: accuracy over the image arm's on the same images; undefined if that is 0.
    above_control: retention less that of the arm's matched control, where that has run.
    drop_p_explained: mean over images of p_explained of the image arm less that of the arm.
    """
    key = ["target", "arm", "image_id"]
    if (repeats := rows.duplicated(key)).any():
        first = rows.loc[repeats, key].iloc[0].to_dict()
        raise InputError(f"rows must be one per image, target and arm, got another {first}; summarise one job")
    groups: dict[Any, Any] = dict(iter(rows.groupby(["target", "arm"], sort=False, observed=True)))
    measured = {names: _measure(group) for names, group in groups.items()}
    for (target, arm), metrics in measured.items():
        if arm != IMAGE_ARM:
            metrics |= _beside(groups.get((target, IMAGE_ARM)), groups[target, arm], metrics["accuracy"])
    for (target, arm), metrics in measured.items():
        if control := measured.get((target, matched_control(arm))):
            metrics["above_control"] = metrics["retention"] - control["retention"]
    return {
        f"{target}/{arm}/{metric}": value if math.isfinite(value) else None
        for (target, arm), metrics in measured.items()
        for metric, value in metrics.items()
    }


def _measure(rows: Any) -> dict[str, float]:
    """NaN where undefined."""
    labelled = rows[rows["label"].notna()]
    correct = labelled["predicted"] == labelled["label"]
    f1_weighted, f1_macro = _f1(labelled["label"], labelled["predicted"])
    return {
        "accuracy": float(correct.mean()),
        "f1_weighted": f1_weighted,
        "f1_macro": f1_macro,
        "p_label": _mean(rows["p_label"].dropna()),
        "p_explained": _mean(rows["p_explained"].dropna()),
        "ece": calibration_error(labelled["p_predicted"], correct),
        "kept_area": _mean(rows["kept_area"]),
        "images": len(rows),
        "top5": float(labelled["in_top5"].mean()),
    }


def _f1(labels: pd.Series, predicted: pd.Series) -> tuple[float, float]:
    """Support-weighted and equal mean of the F1 of the classes present in the labels."""
    if labels.empty:
        return math.nan, math.nan
    import torch
    from torchmetrics.functional.classification import multiclass_f1_score

    # A class that is neither a label nor predicted changes no F1 of a present class, so names are enough.
    codes, names = pd.factorize(pd.concat([labels, predicted], ignore_index=True), use_na_sentinel=False)
    truth, answer = torch.from_numpy(codes).long().split(len(labels))
    num_classes = max(2, len(names))
    scores = multiclass_f1_score(answer, truth, num_classes=num_classes, average=None).double()
    support = torch.bincount(truth, minlength=num_classes).double()
    present = support > 0
    return float((scores * support).sum() / support.sum()), float(scores[present].mean())


def calibration_error(confidence: pd.Series, correct: pd.Series) -> float:
    """Guo et al. 2017, equation 3, over NUM_BINS bins, in [0, 1]; NaN without images or if a confidence is NaN."""
    if confidence.empty or confidence.isna().any():
        return math.nan
    # by hand: torchmetrics would load torch, which takes longer than the rest of a report
    probability = confidence.to_numpy(np.float64).clip(0, 1)  # a softmax may round to 1 + 1e-7
    edges = np.linspace(0, 1, NUM_BINS + 1)[1:-1]
    gaps = np.bincount(np.searchsorted(edges, probability, side="right"), correct.to_numpy(np.float64) - probability)
    return float(np.abs(gaps).sum() / len(probability))


def _beside(whole: Any, rows: Any, accuracy: float) -> dict[str, float]:
    """What an arm's rows are beside the whole images', where there are some."""
    if whole is None:
        return {"retention": math.nan, "drop_p_explained": math.nan}
    same = whole[whole["label"].notna() & whole["image_id"].isin(rows["image_id"])]
    of_whole = float((same["predicted"] == same["label"]).mean())
    before, after = (arm.set_index("image_id")["p_explained"].astype(float) for arm in (whole, rows))
    return {"retention": accuracy / (of_whole or math.nan), "drop_p_explained": _mean((before - after).dropna())}


def _mean(values: Any) -> float:
    return float(values.astype(float).mean(skipna=False))
