"""How metrics of maps rank the methods, whether they agree, and whether they foretell transfer: a page of its own."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from harmonia.report.contract import Section
from harmonia.report.figures import ranking as figures
from harmonia.report.figures.style import CaptionedFigure
from harmonia.report.panels import Panels
from harmonia.report.sections.transfer import Transfer
from harmonia.report.tables import ranking as tables
from harmonia.report.tables.columns import StatisticTable
from harmonia.report.tables.ranking import LINK, METRIC_AGREEMENT, RANKING, SPREAD, labels
from harmonia.results.gathered_scores import ScoredMaps, gather_scores, job_scores
from harmonia.results.jobs import JobFolder
from harmonia.results.scores import SCORES
from harmonia.statistics.metric_transfer import ARM, CONTROL, Transferred, image_places, link, points, transferred
from harmonia.statistics.ranking import agreement_over_images, agreement_over_methods, ranking


class Ranking(Section):
    """Jobs that scored maps; whether scores foretell transfer is told by jobs of transfer of the same maps."""

    rows_file = SCORES
    heading = "Metrics of maps"
    numbers = f"{RANKING}.csv"
    place = 30
    read = staticmethod(job_scores)
    page = "ranking.html"
    page_name = "Ranking"
    page_shows = "ranking of methods by metrics of their maps"
    note = (
        "Metrics judge the maps on the source itself. They measure different things and may contradict each other, so "
        "no score sums them up: where they disagree, that is the finding."
    )

    def gather(self) -> None:
        scores, repeated = gather_scores([job.content for job in self.jobs])
        reason = "replaced by a later job of the same cells"
        self.left_out = {job.name: reason for job in self.jobs if str(job.job.folder) in repeated}
        links = [
            linked
            for section in self.earlier
            if isinstance(section, Transfer)
            for linked in transferred(scores, section.comparisons, section.rows, [job.job for job in section.jobs])
        ]
        self._ranks = Ranks(scores, links)
        self.main = self._ranks.tables()
        titles = ("Methods by metrics", "Spread of ranks", "Agreement of metrics", "Link to transfer")
        self.titles = dict(zip((RANKING, SPREAD, METRIC_AGREEMENT, LINK), titles, strict=True))

    def terminal_tables(self) -> list[pd.DataFrame]:
        return []  # too wide

    def draw(self) -> Iterator[CaptionedFigure]:
        return self._ranks.figures()

    @staticmethod
    def panels(jobs: Sequence[JobFolder], arm: str, panels: Panels) -> dict[str, list[Any]]:
        return {"Metrics of maps": [*panels.figures(RANKING, METRIC_AGREEMENT, LINK), panels.logged_table("images")]}


class Ranks:
    """Tables and figures of scores, and of how they foretell transfer."""

    def __init__(self, scored: Sequence[ScoredMaps], links: Sequence[Transferred]):
        self._scored, self._links = scored, links
        self._lines = [ranking(scores) for scores in scored]
        self._over_methods = [agreement_over_methods(scores) for scores in scored]
        self._over_images = [agreement_over_images(scores) for scores in scored]
        self._of_transfer = [link(linked) for linked in links]

    def tables(self) -> list[StatisticTable]:
        """Those that have a line."""
        all_tables = [
            tables.ranking_table(self._scored, self._lines, linked=bool(self._links)),
            tables.spread_table(self._scored, self._lines),
            tables.metric_agreement_table(self._scored, self._over_methods, self._over_images),
            tables.link_table(self._scored, self._links, self._of_transfer),
        ]
        return [table for table in all_tables if len(table.printed)]

    def figures(self) -> Iterator[CaptionedFigure]:
        """Those that show something; stems of a second setting end in _2."""
        for number, scores in enumerate(self._scored):
            where = "" if len(self._scored) == 1 else f" {', '.join(scores.setting.values())}."
            for stem, title, caption, figure in self._of_scores(number):
                if figure is not None:
                    yield CaptionedFigure(stem + _suffix(number), title, caption + where, figure)
        for number, linked in enumerate(self._links):
            where = "" if len(self._links) == 1 else f" {', '.join([*linked.scores.setting.values(), linked.fill])}."
            for stem, title, caption, figure in _of_link(linked, self._of_transfer[number], where):
                yield CaptionedFigure(stem + _suffix(number), title, caption, figure)

    def _of_scores(self, number: int) -> Iterator[tuple[str, str, str, Figure | None]]:
        lines = self._lines[number]
        heat_map = figures.rank_heat_map(lines.assign(name=lines["source"] + " " + labels(lines)))
        yield RANKING, "Ranks.", "Rank of each method by each metric, 1 is best.", heat_map
        by_source = self._over_methods[number].groupby("source", sort=False)
        panels = [(f"over methods, {source}", part) for source, part in by_source]
        panels.append(("over images, mean of cells", self._over_images[number]))
        caption = "Spearman's rho of each two metrics, turned so that more is better."
        yield METRIC_AGREEMENT, "Do metrics agree?", caption, figures.agreement_heat_maps(panels)


def _of_link(linked: Transferred, lines: Any, where: str) -> Iterator[tuple[str, str, str, Figure]]:
    shown = points(linked)
    if len(shown):
        shown = shown.assign(method_label=labels(shown))
        caption = (
            f"Retention of {ARM} above {CONTROL}, mean over the other targets, against each metric's mean; shape: "
            f"source, colour and filling: method; ρ: with the metric turned so that more is better.{where}"
        )
        caption += _repeated_marks(len(shown["source"].unique()), len(shown["method_label"].unique()))
        yield LINK, "Metrics against transfer.", caption, figures.transfer_scatter(shown, lines)
    if places := image_places(linked):
        caption = (
            "Every image of every cell: its place within the cell by the targets' probability of the explained "
            f"class on {ARM} less that on {CONTROL}, against its place by score (1: best); bright: many.{where}"
        )
        yield f"{LINK}_images", "The same over images.", caption, figures.image_densities(places, lines)
    if lines[["over_cells", "over_images"]].notna().to_numpy().any():
        caption = (
            "Rank correlation of each metric, turned so that more is better, with transfer. Intervals over "
            f"methods are too narrow for few methods, or missing: the table's p decides.{where}"
        )
        yield f"{LINK}_rho", "Does a metric foretell transfer?", caption, figures.link_intervals(lines)


def _suffix(number: int) -> str:
    return "" if number == 0 else f"_{number + 1}"


def _repeated_marks(sources: int, methods: int) -> str:
    """What the scatter's marks do not tell apart, as a sentence for its caption."""
    repeated = [
        f"{count} {noun} share {most} {marks}"
        for count, noun, most, marks in (
            (sources, "sources", figures.MOST_SOURCES, "shapes"),
            (methods, "methods", figures.MOST_METHODS, "colours and fillings"),
        )
        if count > most
    ]
    return f" Marks repeat: {' and '.join(repeated)}." if repeated else ""
