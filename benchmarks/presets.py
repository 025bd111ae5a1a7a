"""What presets of Soundness Saliency cost and what their maps carry: two tables and the figure of docs/soundness.md.

    python -m harmonia.run -m experiment=imagewoof source=lite0,deit_tiny method=gc,ss,ss_jitter data.per_class=30 \
        hydra.sweep.dir=FOLDER
    python benchmarks/presets.py FOLDER

docs/soundness/rows.parquet says of every image, shown to a network that is not the source, whether its class was named;
passes.csv what a map costs. All else follows from them.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from results_page import with_tables

from harmonia.report.figures.style import MARKERS, PALETTE, TEXT_WIDTH, style
from harmonia.results.gathered import job_rows
from harmonia.results.jobs import JobFolder, find_jobs
from harmonia.results.rows import ROWS_FILE
from harmonia.statistics.inference import Resampled, interval, resampled_sums, strata

PAGE = Path(__file__).parents[1] / "docs" / "soundness.md"
AREAS = {"area10": "Top 10 %", "area20": "20 %", "area30": "30 %", "area50": "50 %"}
NAMED = ["source", "method", "target", "arm", "image_id"]
REFERENCE = "ss"
CHOSEN_ON = 10  # images a class, the first by name, on which ss_jitter was chosen
HEAD = ["Source", "Method", "Passes", *AREAS.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    jobs = [job for job in find_jobs(parser.parse_args().sweep) if job.finished]
    folder = PAGE.with_suffix("")
    rows = pd.concat([rows_of(job) for job in jobs]).astype(dict.fromkeys(NAMED, "category"))
    rows.to_parquet(folder / "rows.parquet", compression="zstd", index=False)
    pd.DataFrame([passes_of(job) for job in jobs]).to_csv(folder / "passes.csv", index=False, float_format="%.1f")
    for name, lines in tables(folder).items():
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    draw(folder)
    PAGE.write_text(with_tables(PAGE.read_text("utf-8"), lambda name: (folder / name).read_text("utf-8")), "utf-8")


def rows_of(job: JobFolder) -> pd.DataFrame:
    """Of networks that are not the source, under the equal-area arms: whether the label was named."""
    rows = pd.concat(list(ROWS_FILE.read_pieces(job.folder, [*NAMED, "label", "predicted"]))).astype(str)
    rows = rows[rows["arm"].isin(AREAS) & (rows["source"] != rows["target"])]
    return rows[NAMED].assign(right=rows["label"] == rows["predicted"])


def passes_of(job: JobFolder) -> dict[str, object]:
    """An image's mean: a forward and a backward pass count as one, a forward alone as a third.

    A step is both. Judging before held-out images and the facts at the end are forward alone, the start counts as one.
    """
    method, passes = job.group("method"), job_rows(job).cells["passes"].iloc[0]
    if held_out := method.get("held_out"):
        steps = (passes - 2 - held_out) / (method["draws"] + held_out / method["check_every"])
        passes = 1 + method["draws"] * steps + (passes - 1 - method["draws"] * steps) / 3
    return {"source": job.group("source")["name"], "method": method["name"], "passes": passes}


def accuracies(rows: pd.DataFrame) -> dict[tuple[str, str], Resampled]:
    """By source and method: mean accuracy over the networks asked, (1 + resamples, areas); all on the same images."""
    right = rows.pivot(index="image_id", columns=["source", "method", "arm", "target"], values="right").sort_index()
    if right.isna().any(axis=None):
        raise SystemExit("all jobs of a sweep must have the same images; run them with the same data.per_class")
    sums = resampled_sums(right.to_numpy(bool), strata([str(image).split("/")[0] for image in right.index]))
    shares = {key: sums[:, right.columns.get_locs(key)].mean(1) / len(right) for key in right.columns.droplevel(3)}
    explained = dict.fromkeys(key[:2] for key in shares)
    return {key: np.stack([shares[*key, arm] for arm in AREAS], -1) for key in explained}


def tables(folder: Path) -> dict[str, list[str]]:
    """By file the lines of its table: of all images, and of those on which the shifts were not chosen."""
    rows, passes = pd.read_parquet(folder / "rows.parquet"), pd.read_csv(folder / "passes.csv")
    ids = rows["image_id"].cat.categories.to_series()
    rank = ids.groupby(ids.str.split("/").str[0]).rank()
    others = rows[rows["image_id"].isin(rank.index[rank > CHOSEN_ON])]
    return {"presets.md": [*_table(rows, passes)], "presets_others.md": [*_table(others, passes)]}


def _table(rows: pd.DataFrame, passes: pd.DataFrame) -> Iterator[str]:
    yield f"| {' | '.join(HEAD)} |"
    yield f"| --- | --- | ---: | {' | '.join(['---'] * len(AREAS))} |"
    resampled = accuracies(rows)
    for source, method, cost in passes.sort_values(["source", "passes"]).itertuples(index=False):
        own, reference = resampled[source, method], resampled[source, REFERENCE]
        cells = [f"{100 * value:.1f}" for value in own[0]]
        if method != REFERENCE:
            bounded = (f"{of:+.1f} [{low:z.1f}, {high:z.1f}]" for of, low, high in 100 * interval(own - reference))
            cells = map(": ".join, zip(cells, bounded, strict=True))
        yield f"| {source} | `{method}` | {cost:.0f} | {' | '.join(cells)} |"


def draw(folder: Path) -> None:
    """cost.png: accuracy on the top 30 % against passes, a panel for each source."""
    rows, passes = pd.read_parquet(folder / "rows.parquet"), pd.read_csv(folder / "passes.csv")
    resampled, position = accuracies(rows), list(AREAS).index("area30")
    with style():
        figure = Figure(figsize=(TEXT_WIDTH, 2.6), layout="constrained")
        sources = passes["source"].unique()
        panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
        for panel, source in zip(panels, sources, strict=True):
            of_source = passes[passes["source"] == source].sort_values("passes")
            for number, (method, cost) in enumerate(of_source[["method", "passes"]].itertuples(index=False)):
                value, low, high = 100 * interval(resampled[source, method])[position]
                bars = [[value - low], [high - value]]
                look = {"fmt": MARKERS[number], "color": PALETTE[number], "capsize": 2, "linewidth": 1}
                panel.errorbar(cost, value, bars, label=method, **look)
            panel.set_xscale("log")
            panel.xaxis.set_major_formatter("{x:g}")
            panel.minorticks_off()
            panel.set_title(f"from {source}")
            panel.set_xlabel("forward and backward passes an image")
        panels[0].set_ylabel("accuracy on the top 30 % (%)")
        panels[0].set_ylim(0)
        panels[-1].legend(loc="lower right")
        figure.savefig(folder / "cost.png", dpi=200)


if __name__ == "__main__":
    main()
