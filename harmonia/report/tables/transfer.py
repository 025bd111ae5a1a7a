"""Tables 1 and 2 of Kadir, Addluri, Sonntag 2023 (arXiv 2307.02150), from the rows of finished jobs.

Fractions in rows become percent in report.tables and nowhere earlier. Differs from the
paper: beneath each figure stand its 95 % interval and the printed value; F1 names its average; and a last line says
how much of the image was kept, without which the others mean little.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harmonia.arms import IMAGE_ARM
from harmonia.media import number_of
from harmonia.report.tables.columns import RANDOM_WEIGHTS, bounds, browse_view, intervals_in_words, method_label
from harmonia.report.tables.paper import FOOTNOTES, ORIGIN, paper_numbers
from harmonia.report.tables.typeset import MISSING, table
from harmonia.results.gathered import SETTING, Setting
from harmonia.statistics.comparison import CellEstimates, ComparedCells, Comparison, cell_estimates
from harmonia.statistics.inference import interval, resampled_f1

MATRIX = "transfer_matrix"  # of the files of its numbers and of its figure


def transfer_tables(comparisons: Sequence[Comparison], arm: str) -> list[pd.DataFrame]:
    """A printed table per source and setting, sources by family and name; none for a source without the arm."""
    parts = []
    for comparison in comparisons:
        shown = comparison.cells[comparison.cells["arm"].isin([IMAGE_ARM, arm])]
        estimates = _estimates(comparison, shown.index.to_numpy())
        for (family, source), cells in shown.groupby(["family", "source"], sort=False):
            order = (str(family).casefold(), str(source).casefold())
            parts.append((order, _transfer_table(comparison, cells, estimates, arm)))
    return [printed_table for _, printed_table in sorted(parts, key=lambda part: part[0])]


def _estimates(comparison: Comparison, positions: np.ndarray) -> dict[int, np.ndarray]:
    """Accuracy, F1 weighted and F1 macro of each of these cells, with their bounds, (3, 3)."""
    if not len(positions):
        return {}
    predicted = np.where(comparison.judged[:, positions], comparison.predicted[:, positions], -1)
    f1 = resampled_f1(comparison.labels, predicted, comparison.strata)
    draws = np.concatenate([comparison.accuracy[:, positions, None], f1], axis=2)
    return dict(zip(positions.tolist(), interval(draws), strict=True))


def _transfer_table(
    comparison: Comparison, cells: ComparedCells, estimates: dict[int, np.ndarray], arm: str
) -> pd.DataFrame:
    """One source's table. Per method, lines of numbers; per target, the whole image (I) and the feature (F)."""
    source = cells["source"].iloc[0]
    targets = sorted(cells["target"].unique(), key=lambda target: target != source)  # stable: self first
    columns = [(target, shown) for target in targets for shown in (IMAGE_ARM, arm)]
    lines: list[list[str]] = []
    views: dict[tuple[int, int], dict[str, str]] = {}
    for (method, variant), part in cells.groupby(["method", "variant"], sort=False):
        position = part.reset_index().set_index(["target", "arm"])["index"].to_dict()
        blocks = []
        line = {"source": source, "method": method, "variant": variant, **comparison.setting}
        views |= {
            (len(lines), column): browse_view(line | {"target": target, "arm": shown})
            for column, (target, shown) in enumerate(columns, start=2)
            if shown != IMAGE_ARM and (target, shown) in position
        }
        for target, shown in columns:
            # random weights are not the paper's, and its features lie on black
            foreign = part["random_weights"].any() or (shown != IMAGE_ARM and comparison.setting["fill"] != "black")
            quoted = (MISSING, MISSING) if foreign else paper_numbers(source, method, target, shown)
            at = position.get((target, shown), -1)  # -1: it has not run
            numbers = estimates.get(at, np.full((3, 3), np.nan))
            blocks.append(_block(numbers, cells["kept_area"].get(at, np.nan), quoted))
        block_lines = [[method_label(method, variant), name, *(block[name] for block in blocks)] for name in blocks[0]]
        lines += [line for line in block_lines if not line[1].endswith("printed") or set(line[2:]) != {MISSING}]
    head = ["Method", "Metric", *(f"{target} ({'I' if shown == IMAGE_ARM else 'F'})" for target, shown in columns)]
    printed = pd.DataFrame(lines, columns=head)
    caption, notes = _caption(comparison, cells, arm), _notes(comparison, cells, lines)
    return table(printed, caption, 2, notes, intervals_in_words(comparison), views)


def _block(estimates: np.ndarray, kept_area: float, quoted: Sequence[str]) -> dict[str, str]:
    """One cell's lines; estimates as _estimates gives them."""
    accuracy, weighted, macro = 100 * estimates[0], *estimates[1:]
    return {
        "Accuracy (%)": _number(accuracy[0], 2),
        "Accuracy, 95 % interval": _bounds(accuracy, 2),
        "Accuracy, printed": quoted[0],
        "F1, weighted": _number(weighted[0], 3),
        "F1, weighted, 95 % interval": _bounds(weighted, 3),
        "F1, macro": _number(macro[0], 3),
        "F1, macro, 95 % interval": _bounds(macro, 3),
        "F1, printed": quoted[1],
        "Kept area (%)": _number(100 * kept_area, 2),
    }


def _number(value: float, decimals: int) -> str:
    return MISSING if np.isnan(value) else f"{value:.{decimals}f}"


def _bounds(figure: np.ndarray, decimals: int) -> str:
    _, low, high = figure
    return MISSING if np.isnan(low) else bounds(low, high, f"{{:z.{decimals}f}}")


def _caption(comparison: Comparison, cells: ComparedCells, arm: str) -> str:
    setting, first = comparison.setting, cells.iloc[0]
    counts = cells.groupby(["method", "variant"], sort=False)["images"].max()
    num_images = number_of(len(comparison.labels), "image")
    if counts.nunique() > 1:  # the methods table compares them on those that both have
        num_images = ", ".join(f"{method_label(*names)} {images:,}" for names, images in counts.items()) + " images"
    if cells["unreadable"].max() > 0:
        num_images += f" (and {cells['unreadable'].max():.0f} unreadable)"
    return (
        f"Source {first['source']}{RANDOM_WEIGHTS if first['random_weights'] else ''}, arm {arm}, "
        f"fill {setting['fill']}, label policy {setting['label_policy']}; {setting['data']}, {num_images}. "
        "(I) the whole image, (F) the feature. "
        "F1 over the classes present, argmax over all of the target's; weighted: by support, macro: equally."
    )


def _notes(comparison: Comparison, cells: ComparedCells, lines: Sequence[Sequence[str]]) -> list[str]:
    quoted = [text for line in lines for text in line if line[1].endswith("printed")]
    notes = [ORIGIN] if quoted else []
    notes += [note for mark, note in FOOTNOTES.items() if any(mark in text for text in quoted)]
    if not (comparison.labels >= 0).any():
        notes.append("No image has a label: accuracy and F1 are undefined.")
    elif len(comparison.labels) < 2:
        notes.append("One image has no interval.")
    if voters := dict.fromkeys(cells["target"][cells["voted"]]):
        notes.append(f"{', '.join(voters)} had a vote in the maps: no mean over other networks counts them.")
    for target, lacking in cells.groupby("target", sort=False)["lacking"].max().items():
        if lacking:
            notes.append(f"{target} lacks the class of {lacking} images, which count as wrong.")
    for method, flagged in cells.groupby("method", sort=False)["flagged"].max().items():
        if flagged:
            label = method_label(method)
            notes.append(f"{flagged} maps of {label} are flagged (zero, constant, not finite) and counted as they are.")
    return notes


class TransferMatrix(CellEstimates, Setting):
    """A line per source, target, method, arm, setting and variant; fractions, empty where undefined (see reason)."""


_COLUMNS = ["source", "target", "method", "arm"]
_COLUMNS += ["accuracy_image", "accuracy_feature", "retention", "kept_area", "images", *SETTING, "variant"]


def transfer_matrix(comparisons: Sequence[Comparison]) -> TransferMatrix:
    frames = [cell_estimates(comparison).assign(**comparison.setting) for comparison in comparisons]
    lines: Any = pd.concat(frames, ignore_index=True) if frames else TransferMatrix.of_lines()
    return TransferMatrix.checked(lines[_COLUMNS + [name for name in lines.columns if name not in _COLUMNS]])
