"""Tables 1 and 2 of Kadir, Addluri, Sonntag 2023 (arXiv 2307.02150), from the rows of finished jobs.

Fractions in rows become percent in report.tables and nowhere earlier. Differs from the
paper: beneath each figure stand its 95 % interval and the printed value; F1 names its average; and a last line says
how much of the image was kept, without which the others mean little.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from harmonia.arms import IMAGE_ARM, SOFT_ARM
from harmonia.report.tables.columns import intervals_in_words, method_label
from harmonia.report.tables.paper import FOOTNOTES, SOURCE, printed
from harmonia.report.tables.typeset import MISSING, table
from harmonia.results.gathered import SETTING
from harmonia.statistics.comparison import ComparedCells, Comparison, cell_estimates
from harmonia.statistics.inference import interval

WithBounds = np.ndarray  # value, lower and upper bound of its 95 % interval
_UNDEFINED = np.full(3, np.nan)


def transfer_tables(comparisons: Sequence[Comparison], arm: str = SOFT_ARM) -> list[pd.DataFrame]:
    """A printed table per source and setting, sources by family and name; none for a source without the arm."""
    parts = []
    for comparison in comparisons:
        shown = comparison.cells[comparison.cells["arm"].isin([IMAGE_ARM, arm])]
        estimates = _estimates(comparison, shown.index.to_numpy())
        for (family, source), cells in shown.groupby(["family", "source"], sort=False):
            order = (str(family).casefold(), str(source).casefold())
            parts.append((order, _transfer_table(comparison, cells, estimates, arm)))
    return [printed_table for _, printed_table in sorted(parts, key=lambda part: part[0])]


def _estimates(comparison: Comparison, positions: np.ndarray) -> dict[int, dict[str, WithBounds]]:
    """Accuracy and F1 of each of these cells."""
    if not len(positions):
        return {}
    f1 = comparison.f1(positions)
    names = ("accuracy", "f1_weighted", "f1_macro")
    by_name = [interval(draws) for draws in (comparison.accuracy[:, positions], f1[..., 0], f1[..., 1])]
    return {
        position: dict(zip(names, of_cell, strict=True))
        for position, of_cell in zip(positions.tolist(), zip(*by_name, strict=True), strict=True)
    }


def _transfer_table(
    comparison: Comparison, cells: ComparedCells, estimates: dict[int, dict[str, WithBounds]], arm: str
) -> pd.DataFrame:
    """One source's table. Per method, lines of numbers; per target, the whole image (I) and the feature (F)."""
    source = cells["source"].iloc[0]
    targets = sorted(cells["target"].unique(), key=lambda target: target != source)  # stable: self first
    columns = [(target, shown) for target in targets for shown in (IMAGE_ARM, arm)]
    lines: list[list[str]] = []
    for (method, variant), part in cells.groupby(["method", "variant"], sort=False):
        position = part.reset_index().set_index(["target", "arm"])["index"].to_dict()
        blocks = []
        for target, shown in columns:
            at = position.get((target, shown))
            kept_area = np.nan if at is None else cells.at[at, "kept_area"]
            # random weights are not the paper's, and its features lie on black
            foreign = part["random_weights"].any() or (shown != IMAGE_ARM and comparison.setting["fill"] != "black")
            quoted = {} if foreign else _quoted(source, method, target, shown)
            blocks.append(_block({} if at is None else estimates[at], kept_area, quoted))
        lines += [[method_label(method, variant), name, *(block[name] for block in blocks)] for name in blocks[0]]
    head = ["Method", "Metric", *(f"{target} ({'I' if shown == IMAGE_ARM else 'F'})" for target, shown in columns)]
    printed_cells = pd.DataFrame([line for line in lines if not _nothing_printed(line)], columns=head)
    return table(printed_cells, _caption(comparison, cells, arm), 2, _footnotes(comparison, cells, lines))


def _quoted(source: str, method: str, target: str, arm: str) -> dict[str, str | None]:
    """The paper's accuracy and F1 of a cell, for the arms that the paper has."""
    part = {IMAGE_ARM: "image", SOFT_ARM: "feature"}.get(arm)
    return {name: printed(source, method, target, f"{name}_{part}") for name in ("accuracy", "f1")} if part else {}


def _block(estimates: dict[str, WithBounds], kept_area: float, quoted: dict[str, str | None]) -> dict[str, str]:
    """One cell's lines."""
    accuracy = 100 * estimates.get("accuracy", _UNDEFINED)
    weighted, macro = (estimates.get(f"f1_{average}", _UNDEFINED) for average in ("weighted", "macro"))
    return {
        "Accuracy (%)": _number(accuracy[0], 2),
        "Accuracy, 95 % interval": _bounds(accuracy, 2),
        "Accuracy, printed": quoted.get("accuracy") or MISSING,
        "F1, weighted": _number(weighted[0], 3),
        "F1, weighted, 95 % interval": _bounds(weighted, 3),
        "F1, macro": _number(macro[0], 3),
        "F1, macro, 95 % interval": _bounds(macro, 3),
        "F1, printed": quoted.get("f1") or MISSING,
        "Kept area (%)": _number(100 * kept_area, 2),
    }


def _nothing_printed(line: Sequence[str]) -> bool:
    _, name, *cells = line
    return name.endswith("printed") and set(cells) == {MISSING}


def _number(value: float, decimals: int) -> str:
    return MISSING if np.isnan(value) else f"{value:.{decimals}f}"


def _bounds(figure: WithBounds, decimals: int) -> str:
    _, low, high = figure
    return MISSING if np.isnan(low) else f"[{low:.{decimals}f}, {high:.{decimals}f}]"


def _caption(comparison: Comparison, cells: ComparedCells, arm: str) -> str:
    setting, first = comparison.setting, cells.iloc[0]
    counts = cells.groupby(["method", "variant"], sort=False)["images"].max()
    num_images = f"{len(comparison.labels):,} images"
    if counts.nunique() > 1:  # the methods table compares them on those that both have
        num_images = ", ".join(f"{method_label(*names)} {images:,}" for names, images in counts.items()) + " images"
    if cells["unreadable"].max() > 0:
        num_images += f" (and {cells['unreadable'].max():.0f} unreadable)"
    return (
        f"Source {first['source']}{' (random weights)' if first['random_weights'] else ''}, arm {arm}, "
        f"fill {setting['fill']}, label policy {setting['label_policy']}; {setting['data']}, {num_images}. "
        "(I) the whole image, (F) the feature. "
        "F1 over the classes present, argmax over all of the target's; weighted: by support, macro: equally. "
        f"{intervals_in_words(comparison)}"
    )


def _footnotes(comparison: Comparison, cells: ComparedCells, lines: Sequence[Sequence[str]]) -> list[str]:
    shown = "".join(text for line in lines for text in line)
    quoted = any(line[1].endswith("printed") and not _nothing_printed(line) for line in lines)
    notes = [SOURCE] * quoted + [note for mark, note in FOOTNOTES.items() if mark in shown]
    if not (comparison.labels >= 0).any():
        notes.append("No image has a label: accuracy and F1 are undefined.")
    elif len(comparison.labels) < 2:
        notes.append("One image has no interval.")
    for target, lacking in cells.groupby("target", sort=False)["lacking"].max().items():
        if lacking:
            notes.append(f"{target} lacks the class of {lacking} images, which count as wrong.")
    for method, flagged in cells.groupby("method", sort=False)["flagged"].max().items():
        if flagged:
            notes.append(
                f"{flagged} maps of {method.upper()} are flagged (zero, constant, not finite) and counted as they are."
            )
    return notes


_MATRIX = ["source", "target", "method", "arm"]
_MATRIX += ["accuracy_image", "accuracy_feature", "retention", "kept_area", "images", *SETTING, "variant"]


def transfer_matrix(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One line per source, target, method, arm, setting and variant; fractions, empty where undefined (see reason)."""
    frames = [cell_estimates(comparison).assign(**comparison.setting) for comparison in comparisons]
    lines: Any = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=_MATRIX)
    return lines[_MATRIX + [name for name in lines.columns if name not in _MATRIX]]
