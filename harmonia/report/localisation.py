"""What a report says of GridPG, DiFull and DiPart: a table, box plots and AggAtt, from the rows that jobs left.

S. Rao, M. Böhle, B. Schiele, CVPR 2022, Figs. 5 to 8.
"""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from harmonia.errors import InputError
from harmonia.report.figures.localisation import BINS, aggatt_figure, box_plots
from harmonia.report.figures.style import PIXELS_PER_INCH, Illustration, save, style
from harmonia.results.localisation import AGGATT, read_aggatt
from harmonia.statistics.localisation import MosaicScores


def illustrate_localisation(found: Sequence[MosaicScores], folder: Path) -> tuple[list[Illustration], dict[Path, str]]:
    """Box plots of every job and AggAtt of each, drawn and written; and why AggAtt of a job's folder is left out."""
    with style():
        pictures, lost = _pictures(found)
    made = []
    for stem, title, caption, figure in pictures:
        save(figure, folder, stem)
        made.append(Illustration(stem, title, caption, round(PIXELS_PER_INCH * figure.get_figwidth())))
    return made, lost


def _pictures(found: Sequence[MosaicScores]) -> tuple[list[tuple[str, str, str, Figure]], dict[Path, str]]:
    """Stem, title, caption and figure of each; folders whose mean maps are damaged, with the reason."""
    lost = {}
    pictures = [
        (
            "localisation_boxes",
            "Localisation.",
            "Positive attribution inside the cell over all of it; box: middle half, line: median, whiskers: to 1.5 "
            "box lengths, dotted: a uniform map.",
            box_plots(found),
        )
    ]
    for number, cells in enumerate(found, start=1):
        if (cells.job.folder / AGGATT).is_file():
            try:
                arrays = read_aggatt(cells.job.folder)
            except InputError as error:
                lost[cells.job.folder] = str(error)
                continue
            protocol, source = cells.rows["protocol"].iloc[0], cells.rows["source"].iloc[0]
            pictures.append(
                (
                    f"aggatt_{number}",
                    f"AggAtt, {protocol}, {source}, {cells.name}.",
                    "Cells at the top left, from the best localised to the worst (percent of the ranks): mean positive "
                    "attribution; mosaic and map of each bin's median. One colour scale of means, top 0.5 % clipped, "
                    "another of each example."
                    + (" Few cells: some bins have none." if len(arrays["bins"]) < len(BINS) else ""),
                    aggatt_figure(arrays, round(cells.rows["cells"].iloc[0] ** 0.5)),
                )
            )
    return pictures, lost
