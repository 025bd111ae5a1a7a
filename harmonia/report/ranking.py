"""The ranking page of a report: what harmonia.ranking and harmonia.transfer_link found, as tables and figures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from harmonia.report.figures.ranking import (
    MOST_METHODS,
    MOST_SOURCES,
    agreement_heat_maps,
    image_densities,
    link_intervals,
    rank_heat_map,
    transfer_scatter,
)
from harmonia.report.figures.style import PIXELS_PER_INCH, Illustration, save
from harmonia.report.tables.columns import StatisticTable
from harmonia.report.tables.ranking import (
    LINK,
    METRIC_AGREEMENT,
    RANKING,
    labels,
    link_table,
    metric_agreement_table,
    ranking_table,
    spread_table,
)
from harmonia.results.gathered_scores import ScoredMaps
from harmonia.statistics.metric_transfer import ARM, CONTROL, Transferred, image_places, link, points
from harmonia.statistics.ranking import agreement_over_images, agreement_over_methods, ranking


class RankingReport:
    """Tables and figures of the ranking page; none where no job has scored maps."""

    def __init__(self, found: Sequence[ScoredMaps], links: Sequence[Transferred]):
        self._found, self._links = found, links
        self._lines = [ranking(scores) for scores in found]
        self._over_methods = [agreement_over_methods(scores) for scores in found]
        self._over_images = [agreement_over_images(scores) for scores in found]
        self._of_transfer = [link(part) for part in links]

    def tables(self) -> list[StatisticTable]:
        """Those that have a line."""
        if not self._found:
            return []
        made = [
            ranking_table(self._found, self._lines, linked=bool(self._links)),
            spread_table(self._found, self._lines),
            metric_agreement_table(self._found, self._over_methods, self._over_images),
            link_table(self._found, self._links, self._of_transfer),
        ]
        return [one for one in made if len(one.printed)]

    def illustrate(self, folder: Path) -> list[Illustration]:
        """Draws and writes every figure; those of a second setting end in _2."""
        made = []
        for stem, title, caption, figure in self._figures():
            save(figure, folder, stem)
            made.append(Illustration(stem, title, caption, round(PIXELS_PER_INCH * figure.get_figwidth())))
        return made

    def _figures(self) -> Iterator[tuple[str, str, str, Figure]]:
        for number, scores in enumerate(self._found):
            suffix = "" if number == 0 else f"_{number + 1}"
            where = "" if len(self._found) == 1 else f" {', '.join(scores.setting.values())}."
            lines = self._lines[number]
            lines = lines.assign(name=lines["source"] + " " + labels(lines))
            yield from _drawn(
                (
                    RANKING + suffix,
                    "Ranks.",
                    f"Rank of each method by each metric, 1 is best.{where}",
                    rank_heat_map(lines),
                )
            )
            panels = [
                (f"over methods, {source}", part)
                for source, part in self._over_methods[number].groupby("source", sort=False)
            ]
            panels.append(("over images, mean of cells", self._over_images[number]))
            caption = f"Spearman's rho of each two metrics, turned so that more is better.{where}"
            yield from _drawn((METRIC_AGREEMENT + suffix, "Do metrics agree?", caption, agreement_heat_maps(panels)))
        for number, (part, found) in enumerate(zip(self._links, self._of_transfer, strict=True)):
            suffix = "" if number == 0 else f"_{number + 1}"
            where = "" if len(self._links) == 1 else f" {', '.join([*part.scores.setting.values(), part.fill])}."
            shown = points(part)
            caption = (
                f"Retention of {ARM} above {CONTROL}, mean over the other targets, against each metric's mean; shape: "
                f"source, colour and filling: method; ρ: with the metric turned so that more is better.{where}"
            )
            if len(shown):
                shown = shown.assign(method_label=labels(shown))
                caption += _repeated(len(shown["source"].unique()), len(shown["method_label"].unique()))
                yield LINK + suffix, "Metrics against transfer.", caption, transfer_scatter(shown, found)
            if places := image_places(part):
                caption = (
                    "Every image of every cell: its place within the cell by the targets' probability of the explained "
                    f"class on {ARM} less that on {CONTROL}, against its place by score (1: best); bright: many.{where}"
                )
                yield f"{LINK}_images{suffix}", "The same over images.", caption, image_densities(places, found)
            if found[["over_cells", "over_images"]].notna().to_numpy().any():
                caption = (
                    "Rank correlation of each metric, turned so that more is better, with transfer. Intervals over "
                    f"methods are too narrow for few methods, or missing: the table's p decides.{where}"
                )
                yield f"{LINK}_rho{suffix}", "Does a metric foretell transfer?", caption, link_intervals(found)


def _repeated(sources: int, methods: int) -> str:
    """What the scatter's marks do not tell apart, as a sentence for its caption."""
    said = [
        f"{count} {noun} share {most} {marks}"
        for count, noun, most, marks in (
            (sources, "sources", MOST_SOURCES, "shapes"),
            (methods, "methods", MOST_METHODS, "colours and fillings"),
        )
        if count > most
    ]
    return f" Marks repeat: {' and '.join(said)}." if said else ""


def _drawn(made: tuple[str, str, str, Figure | None]) -> Iterator[tuple[str, str, str, Figure]]:
    stem, title, caption, figure = made
    if figure is not None:
        yield stem, title, caption, figure
