"""Transfer of features: Tables 1 and 2, what says how far to trust them, Fig. 1 and 2, and the images to browse."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import pandas as pd

from harmonia.arms import IMAGE_ARM, SOFT_ARM, area_of, is_control, is_equal_area, is_feature, kind_of, percent
from harmonia.errors import InputError, did_you_mean
from harmonia.report.answer import QUESTION, answers
from harmonia.report.contract import Panels, Section
from harmonia.report.figures.answer import answer_figures
from harmonia.report.figures.cross_curves import cross_curves_figures
from harmonia.report.figures.examples import example_figures
from harmonia.report.figures.map_agreement import map_agreement_figures
from harmonia.report.figures.networks import networks_figures
from harmonia.report.figures.style import CaptionedFigure, of_setting
from harmonia.report.figures.transfer import OF_ROWS, DrawnRows, likeness_figures, transfer_figures
from harmonia.report.fills import fills_table, with_ranges
from harmonia.report.page.collection import collect
from harmonia.report.tables.columns import RANDOM, StatisticTable
from harmonia.report.tables.contrasts import CROSS_CURVES, HEADLINE, LIKENESS, likeness_table, statistic_tables
from harmonia.report.tables.fill_reliability import fill_reliability_table
from harmonia.report.tables.map_agreement import MAP_AGREEMENT, agreement_in_words, map_agreement_table
from harmonia.report.tables.networks import NETWORKS, networks_table, with_networks
from harmonia.report.tables.transfer import MATRIX, transfer_matrix, transfer_tables
from harmonia.results.gathered import CELL, SETTING, gather, job_rows
from harmonia.results.jobs import JobFolder
from harmonia.results.rows import ROWS, read_pieces
from harmonia.results.trackers import CURVE_AXIS, CURVES
from harmonia.results.tracking import IMAGES, SAMPLES
from harmonia.statistics.comparison import compare, missing
from harmonia.statistics.contrasts import mean_transfer
from harmonia.statistics.cross_curves import curve_points
from harmonia.statistics.networks import kin_pairs

_READING = "(F) near (I) of the same target: the feature carries. Without its controls that says nothing of the map."


class TransferSection(Section):
    """Jobs that showed features to targets."""

    rows_file = ROWS
    heading = "Attribution transfer"
    numbers = f"{MATRIX}.csv"
    place = 10
    read = staticmethod(job_rows)

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
            self.main.append(StatisticTable(f"table{number}", table, table, f"Table {number}", _READING))
        jobs = [job.job for job in self.jobs]
        likeness = likeness_table(self.comparisons, jobs, self.arm)
        self._pairs = likeness.numbers if likeness else None
        for table in statistic_tables(self.comparisons, self.arm):
            (self.headlines if table.stem == HEADLINE else self.details).append(table)
        self.details += [likeness] if likeness else []
        self.question = QUESTION
        transfers = [mean_transfer(comparison) for comparison in self.comparisons]
        self.answers = with_ranges(answers(self.comparisons, transfers, jobs, self.arm))
        answered = self.answers[0].arm
        if self.arm == SOFT_ARM != answered:
            self.note = (
                "Tables and figures of this report show the soft map, as the paper does. The answer is about the top "
                f"{percent(area_of(answered) or 0)} % of the map; for tables and figures of that:"
            )
            self.command = f"python -m harmonia.report run=FOLDER arm={answered} out=FOLDER/report_{answered}"
        self.missing = [line for comparison in self.comparisons for line in missing(comparison)]
        self.data[MATRIX] = transfer_matrix(self.comparisons)
        self.metrics = {name: value for table in self.headlines for name, value in _above_control(table.numbers)}
        # the answer is of no arm in whole patches; these tables may be
        of_arm = self.arm if is_feature(self.arm) and self.arm != SOFT_ARM else answered
        of_fills = (make(self.comparisons, of_arm) for make in (fills_table, fill_reliability_table))
        self.headlines += [made for made in of_fills if made]
        self.collection = collect(self.rows)
        of_maps = map_agreement_table(self.comparisons, self.collection, [answer.arm for answer in self.answers])
        self._map_agreement = of_maps.numbers if of_maps else None
        self.details += [of_maps] if of_maps else []
        for at, comparison in enumerate(self.comparisons if of_maps else ()):
            pairs, answer = _lines_of(self._map_agreement, list(comparison.setting.values())), self.answers[at]
            self.answers[at] = replace(answer, findings=[*answer.findings, *agreement_in_words(pairs, answer.lines)])
        of_networks = networks_table(self.comparisons, answered, self._pairs, self._map_agreement)
        self._networks = of_networks.numbers if of_networks else None
        if of_networks:
            self.details.append(of_networks)
            self.answers = with_networks(self.comparisons, self.answers, of_networks.numbers)

    def terminal_tables(self) -> list[pd.DataFrame]:
        # above the answer, those of another arm would pass for it
        return [] if self.note else [table.printed for table in self.main]

    def make_figures(self) -> Iterator[CaptionedFigure]:
        """One set of figures for every setting, those of a second one with stems that end in _2."""
        assert self.collection is not None
        rows = replace(self.rows, cells=mark_random(self.rows.cells))
        shown_arms = rows.cells["arm"].isin([IMAGE_ARM, self.arm, SOFT_ARM]).to_numpy()
        drawn_rows = DrawnRows.checked(rows.frame(OF_ROWS, shown_arms, [*SETTING, *CELL]))
        settings = drawn_rows.groupby(SETTING, sort=False, observed=True)
        compared = {tuple(each.setting.values()): each for each in self.comparisons}
        answered = dict(zip(compared, self.answers, strict=True))
        for number, (setting, part) in enumerate(settings):
            where = "" if len(settings) == 1 else f" Label policy {setting[0]}, fill {setting[1]}, data {setting[2]}."
            figures = [
                answer_figures(answered[setting]),
                example_figures(self.collection, setting, self.arm, self.images),
                transfer_figures(part, _lines_of(mark_random(self.data[MATRIX]), setting), self.arm),
                cross_curves_figures(mark_random(curve_points(compared[setting]))),
            ]
            if self._pairs is not None:
                figures.append(likeness_figures(_lines_of(self._pairs, setting), self.arm))
            if self._networks is not None:
                arm = answered[setting].arm
                figures.append(
                    networks_figures(kin_pairs(compared[setting], arm), _lines_of(self._networks, setting), arm)
                )
            if self._map_agreement is not None:
                figures.append(map_agreement_figures(_lines_of(self._map_agreement, setting)))
            yield from of_setting(chain(*figures), number, where)

    @staticmethod
    def panels(jobs: Sequence[JobFolder], arm: str, panels: Panels) -> dict[str, list[Any]]:
        pieces = [piece for job in jobs for piece in read_pieces(job.folder, ["target", "arm"])]
        names = pd.concat([piece.drop_duplicates() for piece in pieces])
        targets, arms = (list(dict.fromkeys(names[column])) for column in ("target", "arm"))
        _check_arm(arm, [name for name in arms if name != IMAGE_ARM])

        def bars(metric: str) -> list[Any]:
            title = metric.replace("_", " ")
            return [panels.bars(f"{title}, {name}", f"{name}/{arm}/{metric}", f"arm {arm}") for name in targets]

        curves = [
            panels.curves(
                f"accuracy and its control, {target}",
                CURVE_AXIS,
                "kept area",
                [CURVES.format(target=target, metric=metric) for metric in ("accuracy", "control")],
            )
            for target in targets
            if any(map(is_equal_area, arms))
        ]
        return {
            "Transfer matrix": panels.figures(MATRIX) + panels.tables("matrix", HEADLINE) + bars("retention"),
            "Above control": [] if is_control(arm) else bars("above_control"),
            "Accuracy against area": curves + panels.figures("accuracy_by_area", CROSS_CURVES),
            "Class probability": panels.figures("fig2"),
            "Images": [*panels.figures("fig1"), panels.pictures(SAMPLES), panels.logged_table(IMAGES)],
            "Areas and likeness": panels.figures("area_distributions", LIKENESS, MAP_AGREEMENT, NETWORKS),
        }


def _check_arm(arm: str, arms: Sequence[str]) -> None:
    if arm not in arms:
        choice = ", ".join(arms) or "(none)"
        # the nearest spelling of area35 is area50
        not_run = area_of(arm) is not None and kind_of(arm) in map(kind_of, arms)
        remedy = "take one of these areas" if not_run else did_you_mean(arm, arms, "harmonia.report")
        raise InputError(f"arm must be one of {choice}, got {arm!r}; {remedy}")


def _above_control(numbers: pd.DataFrame) -> Iterator[tuple[str, float]]:
    """`<source>/<method>/<arm>/above_control` and its value; those of several settings are in the table alone."""
    key = ["source", "method", "arm"]
    of_one_setting = numbers.drop_duplicates(key, keep=False).dropna(subset="above_control")
    for *names, value in of_one_setting[[*key, "above_control"]].itertuples(index=False):
        yield f"{'/'.join(names)}/above_control", value


def mark_random(frame: Any) -> Any:
    """With random weights said beside the names of such sources, also where they are a target."""
    chosen = frame["random_weights"].astype(bool)
    names = set(frame.loc[chosen, "source"])
    return frame.assign(
        source=frame["source"].where(~chosen, frame["source"] + RANDOM),
        target=frame["target"].where(~frame["target"].isin(names), frame["target"] + RANDOM),
    )


def _lines_of(frame: Any, setting: Sequence[str]) -> Any:
    return frame[(frame[SETTING] == list(setting)).all(axis=1)]
