"""The layout of Tables 1 and 2 of Kadir, Addluri, Sonntag 2023 (arXiv 2307.02150), from rows on disk.

Fractions in rows become percent here and nowhere earlier. Differs from the paper: a third line per
method says how much of the image was kept, without which the other two mean little.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harmonia.errors import InputError
from harmonia.finished_jobs import Job, image_set, options_of, section
from harmonia.results import IMAGE_ARM, SCHEMA, read_rows, summarise, write_text

MISSING = "\N{EN DASH}"  # as printed tables have it

# Jobs that differ in one of these answer different questions and never share a table.
SETTING = ["label_policy", "fill", "data"]

_COLUMNS = [name for name in SCHEMA.names if name not in ("path", "top5")]  # no table needs the largest two
_FROM_JOB = ["job", "family", "unreadable", "data", "image_set", "options", "target_options", "variant"]

_METRICS = {  # printed name: name in the summary, factor, decimals
    "Accuracy (%)": ("accuracy", 100, 2),
    "F1": ("f1_weighted", 1, 2),
    "Kept area (%)": ("kept_area", 100, 2),
}


def gather(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several jobs, each as `job_rows` gives them, as one frame.

    Where one data set's name stands for several sets of images, a digest tells them apart. A cell that
    ran twice with the same options counts once, the later job's; with others it counts as a variant, named
    by the options in which the variants differ.
    """
    if not parts:
        return pd.DataFrame(columns=[*_COLUMNS, *_FROM_JOB])
    rows = pd.concat(parts, ignore_index=True)
    sets = rows.groupby("data")["image_set"].transform("nunique")
    rows["data"] = rows["data"].where(sets == 1, rows["data"] + " [" + rows["image_set"] + "]")
    line = ["source", "method", *SETTING]
    latest = rows.groupby([*line, "target", "arm", "options", "target_options"])["job"].transform("last")
    rows = rows.loc[rows["job"] == latest].reset_index(drop=True)
    of_job = rows.groupby(line)["options"].transform(_differing)
    of_target = rows.groupby([*line, "target"])["target_options"].transform(_differing)
    both = zip(of_job, of_target, strict=True)
    return rows.assign(variant=[", ".join(filter(None, parts)) for parts in both])


def _differing(options: pd.Series) -> pd.Series:
    """Of each row's options those that not all rows share, as text."""
    known: dict[str, dict[str, str]] = {text: json.loads(text) for text in options.unique()}
    shared = set.intersection(*(set(given.items()) for given in known.values()))
    shown = {
        text: ", ".join(f"{key}={value}" for key, value in given.items() if (key, value) not in shared)
        for text, given in known.items()
    }
    return options.map(shown)


def job_rows(job: Job) -> pd.DataFrame:
    """A finished job's rows, and what else a table needs to know of the job in columns of their own."""
    rows = read_rows(job.folder, _COLUMNS)
    data, source = (section(job.config, name) for name in ("data", "source"))
    options, of_targets = options_of(job.config)
    target_options: Any = {
        name: json.dumps(of_targets.get(name, {}), sort_keys=True) for name in rows["target"].unique()
    }
    return rows.assign(
        job=str(job.folder),
        family=str(source.get("family") or ""),
        unreadable=float(job.summary.get("images_unreadable") or 0),
        data=str(data.get("name") or Path(str(data.get("root") or "")).name or "unnamed data"),
        image_set=image_set(rows, options),
        options=json.dumps(options, sort_keys=True),
        target_options=rows["target"].map(target_options),
    )


def transfer_tables(rows: pd.DataFrame, arm: str = "soft") -> list[pd.DataFrame]:
    """A table per source and setting, sources by family and name, for rows as `gather` gives them."""
    shown: Any = rows[rows["arm"].isin([IMAGE_ARM, arm])]
    parts: list[Any] = [part for _, part in shown.groupby(["source", *SETTING], sort=False)]
    parts.sort(key=lambda part: (part["family"].iloc[0].casefold(), part["source"].iloc[0].casefold()))
    return [transfer_table(part, part["source"].iloc[0], arm) for part in parts]


def transfer_table(rows: pd.DataFrame, source: str, arm: str = "soft") -> pd.DataFrame:
    """One source's table: per method and metric, the whole image (I) and the feature (F) for each target.

    Cells are printed numbers, the caption is in attrs["caption"].
    """
    chosen: Any = rows[(rows["source"] == source) & rows["arm"].isin([IMAGE_ARM, arm])]
    if chosen.empty:
        raise InputError(f"source {source!r} must have rows, got none; run it first")
    for name in SETTING:
        if name in chosen and chosen[name].nunique() > 1:
            found = ", ".join(sorted(chosen[name].unique()))
            raise InputError(f"a table must have one {name}, got {found}; use transfer_tables")
    targets = sorted(chosen["target"].unique(), key=lambda target: target != source)  # stable: self first
    lines = []
    for (method, variant), part in chosen.groupby(["method", "variant"], sort=False):
        summary = summarise(part)
        label = method.upper() + (f" ({variant})" if variant else "")
        for printed, (metric, factor, decimals) in _METRICS.items():
            line = {"Method": label, "Metric": printed}
            for target in targets:
                for letter, shown in (("I", IMAGE_ARM), ("F", arm)):
                    value = summary.get(f"{target}/{shown}/{metric}")
                    cell = MISSING if value is None else f"{factor * value:.{decimals}f}"
                    line[f"{target} ({letter})"] = cell
            lines.append(line)
    table = pd.DataFrame(lines)
    table.attrs["caption"] = _caption(chosen, source, arm)
    return table


def _caption(rows: Any, source: str, arm: str) -> str:
    num_images = f"{rows['image_id'].nunique():,} images"
    if "unreadable" in rows and rows["unreadable"].max() > 0:
        num_images += f" (and {rows['unreadable'].max():.0f} unreadable)"
    data = f"{rows['data'].iloc[0]}, " if "data" in rows else ""
    fill, label_policy = rows[["fill", "label_policy"]].iloc[0]
    return (
        f"Source {source}, arm {arm}, fill {fill}, label policy {label_policy}; {data}{num_images}. "
        "(I) the whole image, (F) the feature. "
        "F1: support-weighted over the classes present, 1000-way argmax."
    )


_MATRIX = ["source", "target", "method", "arm"]
_MATRIX += ["accuracy_image", "accuracy_feature", "retention", "kept_area", "images"]


def transfer_matrix(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per source, target, method, arm, setting and variant; fractions, empty where undefined."""
    lines = []
    cells_of: Any = rows.groupby(["source", "method", *SETTING, "variant"], sort=False)
    for (source, method, *setting, variant), part in cells_of:
        summary = summarise(part)
        cells = part.loc[part["arm"] != IMAGE_ARM, ["target", "arm"]].drop_duplicates()
        for target, arm in cells.itertuples(index=False):
            feature = f"{target}/{arm}"
            lines.append(
                {
                    "source": source,
                    "target": target,
                    "method": method,
                    "arm": arm,
                    "accuracy_image": summary.get(f"{target}/{IMAGE_ARM}/accuracy"),
                    "accuracy_feature": summary[f"{feature}/accuracy"],
                    "retention": summary[f"{feature}/retention"],
                    "kept_area": summary[f"{feature}/kept_area"],
                    "images": summary[f"{feature}/images"],
                    **dict(zip(SETTING, setting, strict=True)),
                    "variant": variant,
                }
            )
    return pd.DataFrame(lines, columns=[*_MATRIX, *SETTING, "variant"])


def to_markdown(table: pd.DataFrame) -> str:
    """The table in GitHub's Markdown, its caption above it."""
    lines = [
        _markdown_line(list(table.columns)),
        _markdown_line(["---"] * 2 + ["---:"] * (table.shape[1] - 2)),
    ]
    lines += [_markdown_line(line) for line in table.itertuples(index=False)]
    return f"{_markdown_text(table.attrs['caption'])}\n\n" + "\n".join(lines) + "\n"


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_markdown_text(cell) for cell in cells) + " |"


def _markdown_text(text: str) -> str:
    text = " ".join(text.split())
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("&", "&amp;").replace("<", "&lt;")


def to_csv(table: pd.DataFrame) -> str:
    """The same cells as comma-separated values, without the caption."""
    return table.to_csv(index=False, lineterminator="\n")


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    MISSING: "--",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def to_latex(table: pd.DataFrame) -> str:
    """The table as a float; the document needs the package booktabs."""
    head, *body = (
        " & ".join(_latex_text(cell) for cell in line) + r" \\"
        for line in [tuple(table.columns), *table.itertuples(index=False)]
    )
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex_text(table.attrs['caption'])}}}",
        rf"\begin{{tabular}}{{ll{'r' * (table.shape[1] - 2)}}}",
        r"\toprule",
        head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def print_table(table: pd.DataFrame, console: Console | None = None) -> None:
    """The table in the terminal."""
    grid = Table(title=Text(table.attrs["caption"]), title_justify="left")
    for position, name in enumerate(table.columns):
        grid.add_column(Text(name), justify="right" if position > 1 else "left")
    for line in table.itertuples(index=False):
        grid.add_row(*(Text(cell) for cell in line), end_section=line[1] == list(_METRICS)[-1])
    (console or Console()).print(grid)


def table_files(table: pd.DataFrame, stem: str, folder: str | Path) -> list[Path]:
    """The files `<stem>.{md,csv,tex}` written into the folder."""
    texts = {"md": to_markdown(table), "csv": to_csv(table), "tex": to_latex(table)}
    paths = [Path(folder) / f"{stem}.{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    return paths
