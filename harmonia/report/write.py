"""Tables, figures and pages from the rows that finished jobs left on disk; nothing is computed by a model again."""

import re
from collections.abc import Sequence
from pathlib import Path

from harmonia.arms import IMAGE_ARM, SOFT_ARM
from harmonia.cli.arguments import did_you_mean
from harmonia.errors import InputError
from harmonia.report.figures.examples import check_names
from harmonia.report.localisation import illustrate_localisation
from harmonia.report.page.collection import collect
from harmonia.report.page.write import PAGE, write_pages
from harmonia.report.ranking import RankingReport
from harmonia.report.tables.contrasts import HEADLINE, STEMS, statistic_tables
from harmonia.report.tables.likeness import LIKENESS, likeness_table
from harmonia.report.tables.localisation import (
    AGREEMENT,
    STEM,
    localisation_agreement_table,
    localisation_table,
)
from harmonia.report.tables.ranking import LINK, METRIC_AGREEMENT, RANKING, RANKING_STEMS
from harmonia.report.tables.transfer import transfer_matrix, transfer_tables
from harmonia.report.tables.typeset import table_files
from harmonia.report.transfer import illustrate
from harmonia.report.written import EQUAL_AREA, LEGEND, MATRIX, Report
from harmonia.results.gathered import Rows, gather, job_rows
from harmonia.results.gathered_scores import JobScores, gather_scores, job_scores
from harmonia.results.jobs import JobFolder, find_jobs
from harmonia.results.localisation import LOCALISATION
from harmonia.results.scores import SCORES
from harmonia.statistics.comparison import compare
from harmonia.statistics.contrasts import missing
from harmonia.statistics.localisation import MosaicScores, mosaic_scores, without_repeats
from harmonia.statistics.metric_transfer import transferred
from harmonia.store.files import write_text

MODULE = "harmonia.report"

REPLACED = "replaced by a later job of the same cells"
THUMBNAILS = 5000  # about 10 kB each

_OURS = re.compile(
    rf"(table[1-9]\d*|{'|'.join([*STEMS, LIKENESS, STEM, AGREEMENT, *RANKING_STEMS])})\.(md|csv|tex)|"
    rf"(localisation_boxes|aggatt|fig1|fig2(_part\d+)?|transfer_matrix(_above_control)?|accuracy_by_area|area_distributions|{LIKENESS}|"
    rf"{RANKING}|{METRIC_AGREEMENT}|{LINK}(_rho|_images)?)"
    rf"(_\d+)?\.(png|pdf)|{re.escape(MATRIX)}"
)


def write_report(
    run: str | Path,
    arm: str = SOFT_ARM,
    out: str | Path | None = None,
    images: Sequence[str] = (),
    thumbnails: int | None = THUMBNAILS,
) -> Report:
    """Tables, matrix, figures and pages of every finished job in the folder or below it; no file without a job.

    images: ids for Fig. 1. thumbnails: of how many images at most, None for all.
    """
    run = Path(run)
    if run.is_file():
        raise InputError(f"run must be a folder, got the file {str(run)!r}; name the folder it lies in")
    if not run.is_dir():
        siblings = [path.name for path in run.parent.iterdir()] if run.parent.is_dir() else []
        raise InputError(
            f"run must be an existing folder, got {str(run)!r}; {did_you_mean(run.name, siblings, MODULE)}"
        )
    report = Report(run, arm)
    parts: dict[str, Rows] = {}
    scored: dict[str, MosaicScores] = {}
    of_maps: dict[str, JobScores] = {}
    jobs = find_jobs(run)
    if not jobs:
        return report
    for job in jobs:
        try:
            if job.error is not None:
                raise InputError(job.error)
            if (job.folder / LOCALISATION).is_file():
                scored[_name(job, run)] = mosaic_scores(job)
            elif (job.folder / SCORES).is_file():
                of_maps[_name(job, run)] = job_scores(job)
            else:
                parts[_name(job, run)] = job_rows(job)
        except InputError as error:
            report.left_out[_name(job, run)] = str(error)
        except Exception as error:  # damage that nobody thought of must not hide the other jobs
            report.left_out[_name(job, run)] = f"unreadable: {type(error).__name__}: {error}; run the job again"
    mosaics = without_repeats(list(scored.values()))
    scores, repeated = gather_scores(list(of_maps.values()))
    rows = gather(list(parts.values()))
    arms = sorted(set(rows.cells["arm"]) - {IMAGE_ARM})
    if parts and arm not in arms:
        choice = ", ".join(arms) or "(none)"
        raise InputError(f"arm must be one of {choice}, got {arm!r}; {did_you_mean(arm, arms, MODULE)}")
    for name, part in parts.items():
        if not rows.image_ids.keys() & part.image_ids.keys():
            report.left_out[name] = "replaced by a job of the same cells, on more images or a later one"
    shown = [cells.job for cells in mosaics]
    report.left_out |= {name: REPLACED for name, cells in scored.items() if cells.job not in shown}
    report.left_out |= {name: REPLACED for name, one in of_maps.items() if one.job in repeated}
    report.jobs = [job for job in jobs if _name(job, run) in {**parts, **scored, **of_maps}]
    comparisons = compare(rows)
    report.tables = transfer_tables(comparisons, arm)
    likeness = likeness_table(comparisons, jobs, arm)
    report.statistics = statistic_tables(comparisons, arm) + ([likeness] if likeness else [])
    if mosaics:
        agreement = localisation_agreement_table(mosaics)
        report.statistics += [localisation_table(mosaics), *([agreement] if agreement else [])]
    ranks = RankingReport(scores, transferred(scores, comparisons, rows, jobs))
    report.statistics += ranks.tables()
    report.missing = [line for comparison in comparisons for line in missing(comparison)]
    report.matrix = transfer_matrix(comparisons)
    collection = collect(rows)
    check_names(collection, images)

    folder = Path(out) if out is not None else run / "report"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out must be a folder, got {str(folder)!r} ({error.strerror}); name another") from error
    report.folder = folder
    _remove_earlier(folder)
    for number, table in enumerate(report.tables, start=1):
        table_files(table, f"table{number}", folder)
    for made in report.statistics:
        table_files(made.printed, made.stem, folder, made.numbers)
    pairs = likeness.numbers if likeness else None
    if parts:
        write_text(folder / MATRIX, report.matrix.to_csv(index=False, lineterminator="\n"))
        report.figures = illustrate(rows, report.matrix, collection, folder, arm, images, pairs)
    if mosaics:
        pictures, lost = illustrate_localisation(mosaics, folder)
        report.figures += pictures
        names = {job.folder: _name(job, run) for job in report.jobs}
        report.left_out |= {f"{names[at]}: AggAtt": reason for at, reason in lost.items()}
    of_ranks = ranks.illustrate(folder)
    report.figures += of_ranks
    facts = {
        "run": run.resolve().name,
        "finished": len(report.jobs),
        "legend": LEGEND,
        "equal_area": EQUAL_AREA,
        "tables": report.tables,
        "statistics": [made for made in report.statistics if made.stem not in RANKING_STEMS],
        "headlines": (HEADLINE, STEM),
        "figures": [figure for figure in report.figures if figure not in of_ranks],
        "ranking": [made for made in report.statistics if made.stem in RANKING_STEMS],
        "ranking_figures": of_ranks,
        "missing": report.missing,
        "left_out": report.left_out,
    }
    write_pages(folder, collection, thumbnails, arm, facts)
    return report


def _remove_earlier(folder: Path) -> None:
    """An earlier report's tables and figures, of which there may have been more; other people's files stay."""
    if (folder / PAGE / "assets").is_dir():
        for path in folder.iterdir():
            if _OURS.fullmatch(path.name):
                path.unlink()


def _name(job: JobFolder, run: Path) -> str:
    name = str(job.folder.relative_to(run))
    return run.resolve().name if name == "." else name
