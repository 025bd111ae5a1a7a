"""Which figures a report has, under which names and captions; one set of them for every setting."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from harmonia.arms import IMAGE_ARM, SOFT_ARM
from harmonia.report.figures.examples import draw_examples, named_images, typical_images
from harmonia.report.figures.style import PIXELS_PER_INCH, Illustration, save
from harmonia.report.figures.transfer import (
    OF_ROWS,
    accuracy_by_area,
    area_distributions,
    class_probabilities,
    transfer_against_likeness,
    transfer_heat_maps,
)
from harmonia.report.page.collection import Collection
from harmonia.report.tables.likeness import LIKENESS
from harmonia.results.gathered import CELL, SETTING, Rows
from harmonia.statistics.likeness import correlations

TYPICAL_IMAGES = 4

RANDOM = " (random)"  # weights, of a source


def illustrate(
    rows: Rows,
    matrix: pd.DataFrame,
    collection: Collection,
    folder: Path,
    arm: str,
    images: Sequence[str] = (),
    pairs: pd.DataFrame | None = None,
) -> list[Illustration]:
    """Draws and writes every figure.

    images: ids for Fig. 1, without them the typical ones. pairs: what likeness_table is about.
    """
    made = []
    rows = replace(rows, cells=mark_random(rows.cells))
    shown: Any = rows.frame(OF_ROWS, rows.cells["arm"].isin([IMAGE_ARM, arm, SOFT_ARM]).to_numpy(), [*SETTING, *CELL])
    matrix = mark_random(matrix)
    settings = shown.groupby(SETTING, sort=False, observed=True)
    for number, (setting, part) in enumerate(settings, start=1):
        suffix = "" if number == 1 else f"_{number}"
        where = "" if len(settings) == 1 else f" Label policy {setting[0]}, fill {setting[1]}, data {setting[2]}."
        cells: Any = matrix[(matrix[SETTING] == list(setting)).all(axis=1)]
        made_of_setting = [*_figures(part, cells, collection, setting, arm, images), *_likeness(pairs, setting, arm)]
        for stem, title, caption, figure in made_of_setting:
            save(figure, folder, stem + suffix)
            made.append(
                Illustration(stem + suffix, title, caption + where, round(PIXELS_PER_INCH * figure.get_figwidth()))
            )
    return made


def mark_random(frame: Any) -> Any:
    """With random weights said beside the names of such sources, also where they are a target."""
    if not len(frame) or not frame["random_weights"].any():
        return frame
    chosen = frame["random_weights"].astype(bool)
    names = set(frame.loc[chosen, "source"])
    return frame.assign(
        source=frame["source"].where(~chosen, frame["source"] + RANDOM),
        target=frame["target"].where(~frame["target"].isin(names), frame["target"] + RANDOM),
    )


def _figures(rows: Any, matrix: Any, collection: Collection, setting: Sequence[str], arm: str, names: Sequence[str]):
    """Stem, title, caption and figure of each."""
    yield from _examples(collection, setting, arm, names)
    histograms = class_probabilities(rows, arm)
    for number, figure in enumerate(histograms, start=1):
        part = f", part {number} of {len(histograms)}" if len(histograms) > 1 else ""
        yield (
            "fig2" if number == 1 else f"fig2_part{number}",
            f"Figure 2{part}.",
            f"Class probability on the image (I) and on the feature (F, arm {arm}), the same images; a row per source "
            "and method, a column per target.",
            figure,
        )
    yield (
        "transfer_matrix",
        "Transfer matrix.",
        f"Retention, accuracy on the feature (arm {arm}) over accuracy on the image; the source's own cell is framed.",
        transfer_heat_maps(matrix, arm),
    )
    if matrix.loc[matrix["arm"] == arm, "above_control"].notna().any():
        yield (
            "transfer_matrix_above_control",
            "Transfer matrix, above control.",
            f"Retention of arm {arm} less that of its matched control (points).",
            transfer_heat_maps(matrix, arm, "above_control"),
        )
    if matrix["accuracy_feature"].notna().any():
        yield (
            "accuracy_by_area",
            "Accuracy against kept area.",
            "Equal-area arms with 95 % bootstrap bands (images drawn again within classes); hollow: the soft map at "
            "its mean area, and, tied to it, the image dimmed by as much.",
            accuracy_by_area(matrix),
        )
    if (rows["arm"] == SOFT_ARM).any():
        yield (
            "area_distributions",
            "Kept area of the soft maps.",
            "Mean keep weight of each image, in its source's view or, where that is no target, the first target's; "
            "line: middle half, circle: median.",
            area_distributions(rows),
        )


def _likeness(pairs: Any, setting: Sequence[str], arm: str):
    if pairs is None:
        return
    here = pairs[(pairs[SETTING] == list(setting)).all(axis=1) & ~pairs["random_weights"].astype(bool)]
    found = correlations(here, arm)
    if len(found):
        yield (
            LIKENESS,
            "Transfer against likeness of models.",
            f"Every source and other target: retention of arm {arm} above its control against how alike the two are; "
            "Spearman's rank correlation with its 95 % interval and p; models, not pairs, are the units.",
            transfer_against_likeness(here[here["arm"] == arm], found),
        )


def _examples(collection: Collection, setting: Sequence[str], arm: str, names: Sequence[str]):
    cells = [cell for cell in collection.cells if [cell.key[name] for name in SETTING] == list(setting)]
    images = collection.sets[cells[0].key["data"]]
    places = named_images(images, names) if names else typical_images(collection, images, arm, TYPICAL_IMAGES)
    if not places or all(cell.maps is None for cell in cells):
        return
    from harmonia.data.imagenet import readable

    classes = {code: readable(name) for code, name in enumerate(collection.classes)}
    rule = "named by the user" if names else "those nearest to the median drop of p_explained, one a class"
    figure: Figure = draw_examples(cells, images, places, classes, arm)
    caption = f"Images ({rule}), maps and features (arm {arm}, dropped parts black): " + ", ".join(
        images.ids[place] for place in places
    )
    yield "fig1", "Figure 1.", caption + ".", figure
