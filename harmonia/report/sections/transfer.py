"""Transfer of features: Tables 1 and 2, what says how far to trust them, Fig. 1 and 2, and the images to browse."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from harmonia.arms import IMAGE_ARM, SOFT_ARM, is_control, is_equal_area
from harmonia.cli.entry import did_you_mean
from harmonia.errors import InputError
from harmonia.report.contract import Section
from harmonia.report.figures import transfer as figures
from harmonia.report.figures.examples import draw_examples, named_images, typical_images
from harmonia.report.figures.style import CaptionedFigure
from harmonia.report.page.collection import collect
from harmonia.report.panels import Panels
from harmonia.report.tables.columns import StatisticTable
from harmonia.report.tables.contrasts import HEADLINE, statistic_tables
from harmonia.report.tables.likeness import LIKENESS, likeness_table
from harmonia.report.tables.transfer import transfer_matrix, transfer_tables
from harmonia.results.gathered import CELL, SETTING, gather, job_rows
from harmonia.results.jobs import JobFolder
from harmonia.results.rows import ROWS, read_rows
from harmonia.statistics.comparison import compare
from harmonia.statistics.contrasts import ALL_SOURCES, missing
from harmonia.statistics.likeness import correlations

MATRIX = "transfer_matrix"
TYPICAL_IMAGES = 4
RANDOM = " (random)"  # weights, of a source


class Transfer(Section):
    """Jobs that showed features to targets."""

    rows_file = ROWS
    heading = "Attribution transfer"
    numbers = f"{MATRIX}.csv"
    place = 10
    read = staticmethod(job_rows)
    note = "A soft map dims the image and may keep more of its light than another: compare methods at equal area."
    command = "python -m harmonia.report run=FOLDER arm=area30 out=FOLDER2"

    def gather(self) -> None:
        self.rows = gather([job.content for job in self.jobs])
        _check_arm(self.arm, sorted(set(self.rows.cells["arm"]) - {IMAGE_ARM}))
        self.left_out = {
            job.name: "replaced by a job of the same cells, on more images or a later one"
            for job in self.jobs
            if not self.rows.image_ids.keys() & job.content.image_ids.keys()
        }
        self.comparisons = compare(self.rows)
        for number, table in enumerate(transfer_tables(self.comparisons, self.arm), start=1):
            self.main.append(StatisticTable(f"table{number}", table, table))
            self.titles[f"table{number}"] = f"Table {number}"
        likeness = likeness_table(self.comparisons, [job.job for job in self.jobs], self.arm)
        self._pairs = likeness.numbers if likeness else None
        for table in statistic_tables(self.comparisons, self.arm):
            (self.headlines if table.stem == HEADLINE else self.details).append(table)
        self.details += [likeness] if likeness else []
        self.missing = [line for comparison in self.comparisons for line in missing(comparison)]
        self.data[MATRIX] = transfer_matrix(self.comparisons)
        self.metrics = {name: value for table in self.headlines for name, value in _above_control(table.numbers)}
        self.collection = collect(self.rows)

    def terminal_tables(self) -> list[pd.DataFrame]:
        headlines = [terminal_lines(table.printed, self.arm) for table in self.headlines]
        return [*(table.printed for table in self.main), *headlines]

    def draw(self) -> Iterator[CaptionedFigure]:
        """One set of figures for every setting, those of a second one with stems that end in _2."""
        rows = replace(self.rows, cells=mark_random(self.rows.cells))
        shown_arms = rows.cells["arm"].isin([IMAGE_ARM, self.arm, SOFT_ARM]).to_numpy()
        drawn_rows: Any = rows.frame(figures.OF_ROWS, shown_arms, [*SETTING, *CELL])
        matrix = mark_random(self.data[MATRIX])
        settings = drawn_rows.groupby(SETTING, sort=False, observed=True)
        for number, (setting, part) in enumerate(settings, start=1):
            suffix = "" if number == 1 else f"_{number}"
            where = "" if len(settings) == 1 else f" Label policy {setting[0]}, fill {setting[1]}, data {setting[2]}."
            cells: Any = matrix[(matrix[SETTING] == list(setting)).all(axis=1)]
            for figure in (*self._examples(setting), *_figures(part, cells, self.arm), *self._likeness(setting)):
                yield replace(figure, stem=figure.stem + suffix, caption=figure.caption + where)

    def _examples(self, setting: Sequence[str]) -> Iterator[CaptionedFigure]:
        collection = self.collection
        assert collection is not None
        cells = [cell for cell in collection.cells if [cell.key[name] for name in SETTING] == list(setting)]
        images = collection.sets[cells[0].key["data"]]
        if self.images:
            places, rule = named_images(images, self.images), "named by the user"
        else:
            places = typical_images(collection, images, self.arm, TYPICAL_IMAGES)
            rule = "those nearest to the median drop of p_explained, one a class"
        if not places or all(cell.maps is None for cell in cells):
            return
        from harmonia.data.imagenet import readable

        classes = {code: readable(name) for code, name in enumerate(collection.classes)}
        ids = ", ".join(images.ids[place] for place in places)
        yield CaptionedFigure(
            "fig1",
            "Figure 1.",
            f"Images ({rule}), maps and features (arm {self.arm}, dropped parts black): {ids}.",
            draw_examples(cells, images, places, classes, self.arm),
        )

    def _likeness(self, setting: Sequence[str]) -> Iterator[CaptionedFigure]:
        pairs: Any = self._pairs
        if pairs is None:
            return
        pairs = pairs[(pairs[SETTING] == list(setting)).all(axis=1) & ~pairs["random_weights"].astype(bool)]
        lines = correlations(pairs, self.arm)
        if len(lines):
            yield CaptionedFigure(
                LIKENESS,
                "Transfer against likeness of models.",
                f"Every source and other target: retention of arm {self.arm} above its control against how alike the "
                "two are; Spearman's rank correlation with its 95 % interval and p; models, not pairs, are the units.",
                figures.transfer_against_likeness(pairs[pairs["arm"] == self.arm], lines),
            )

    @staticmethod
    def panels(jobs: Sequence[JobFolder], arm: str, panels: Panels) -> dict[str, list[Any]]:
        names = pd.concat([read_rows(job.folder, ["target", "arm"]).drop_duplicates() for job in jobs])
        targets, arms = (list(dict.fromkeys(names[column])) for column in ("target", "arm"))
        _check_arm(arm, [name for name in arms if name != IMAGE_ARM])

        def bars(metric: str) -> list[Any]:
            title = metric.replace("_", " ")
            return [panels.bars(f"{title}, {name}", f"{name}/{arm}/{metric}", f"arm {arm}") for name in targets]

        curves = [
            panels.curves(
                f"accuracy and its control, {target}",
                "curves/kept_area",
                "kept area",
                [f"curves/{target}/accuracy", f"curves/{target}/control"],
            )
            for target in targets
            if any(map(is_equal_area, arms))
        ]
        return {
            "Transfer matrix": panels.figures(MATRIX) + panels.tables("matrix", HEADLINE) + bars("retention"),
            "Above control": [] if is_control(arm) else bars("above_control"),
            "Accuracy against area": curves + panels.figures("accuracy_by_area"),
            "Class probability": panels.figures("fig2"),
            "Images": [*panels.figures("fig1"), panels.pictures("samples"), panels.logged_table("images")],
            "Areas and likeness": panels.figures("area_distributions", LIKENESS),
        }


def _check_arm(arm: str, arms: Sequence[str]) -> None:
    if arm not in arms:
        choice = ", ".join(arms) or "(none)"
        raise InputError(f"arm must be one of {choice}, got {arm!r}; {did_you_mean(arm, arms, 'harmonia.report')}")


def terminal_lines(headline: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Of transfer above control the means over sources, and each source's line of the arm that the report is about.

    All of it where no mean over sources stands above its parts.
    """
    means: Any = headline["Source"].str.startswith(ALL_SOURCES)
    lines: Any = headline[means | (headline["Arm"] == arm) | ~means.any()]
    lines.attrs = headline.attrs
    return lines


def _above_control(numbers: pd.DataFrame) -> Iterator[tuple[str, float]]:
    """`<source>/<method>/<arm>/above_control` and its value; those of several settings are in the table alone."""
    of_one_setting: Any = numbers.groupby(["source", "method", "arm"]).filter(lambda part: len(part) == 1)
    for line in of_one_setting.to_dict("records"):
        if pd.notna(line["above_control"]):
            yield f"{line['source']}/{line['method']}/{line['arm']}/above_control", line["above_control"]


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


def _figures(rows: Any, matrix: Any, arm: str) -> Iterator[CaptionedFigure]:
    """Of one setting: its rows, and its lines of the matrix."""
    histograms = figures.class_probabilities(rows, arm)
    for number, figure in enumerate(histograms, start=1):
        part = f", part {number} of {len(histograms)}" if len(histograms) > 1 else ""
        yield CaptionedFigure(
            "fig2" if number == 1 else f"fig2_part{number}",
            f"Figure 2{part}.",
            f"Class probability on the image (I) and on the feature (F, arm {arm}), the same images; a row per source "
            "and method, a column per target.",
            figure,
        )
    yield CaptionedFigure(
        MATRIX,
        "Transfer matrix.",
        f"Retention, accuracy on the feature (arm {arm}) over accuracy on the image; the source's own cell is framed.",
        figures.transfer_heat_maps(matrix, arm),
    )
    if matrix.loc[matrix["arm"] == arm, "above_control"].notna().any():
        yield CaptionedFigure(
            f"{MATRIX}_above_control",
            "Transfer matrix, above control.",
            f"Retention of arm {arm} less that of its matched control (points).",
            figures.transfer_heat_maps(matrix, arm, "above_control"),
        )
    if matrix["accuracy_feature"].notna().any():
        yield CaptionedFigure(
            "accuracy_by_area",
            "Accuracy against kept area.",
            "Equal-area arms with 95 % bootstrap bands (images drawn again within classes); hollow: the soft map at "
            "its mean area, and, tied to it, the image dimmed by as much.",
            figures.accuracy_by_area(matrix),
        )
    if (rows["arm"] == SOFT_ARM).any():
        yield CaptionedFigure(
            "area_distributions",
            "Kept area of the soft maps.",
            "Mean keep weight of each image, in its source's view or, where that is no target, the first target's; "
            "line: middle half, circle: median.",
            figures.area_distributions(rows),
        )
