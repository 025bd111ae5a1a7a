"""Tables of printed cells as Markdown, CSV, LaTeX and in the terminal.

A table is a frame of text. attrs["caption"] stands above it, attrs["footnotes"] below it; the first
attrs["text_columns"] columns are set left, the others, numbers, right.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harmonia.store.files import write_text

MISSING = "\N{EN DASH}"  # as printed tables have it
DAGGER, DOUBLE_DAGGER = "\N{DAGGER}", "\N{DOUBLE DAGGER}"


def table(cells: pd.DataFrame, caption: str, text_columns: int, footnotes: Sequence[str] = ()) -> pd.DataFrame:
    """The frame with what its printed forms need."""
    made = cells.copy()
    made.attrs = {"caption": caption, "text_columns": text_columns, "footnotes": list(footnotes)}
    return made


def to_markdown(table: pd.DataFrame) -> str:
    """The table in GitHub's Markdown, its caption above it and its footnotes below."""
    text_columns = table.attrs["text_columns"]
    lines = [
        _markdown_line(list(table.columns)),
        _markdown_line(["---"] * text_columns + ["---:"] * (table.shape[1] - text_columns)),
    ]
    lines += [_markdown_line(line) for line in table.itertuples(index=False)]
    notes = "".join(f"\n{_markdown_text(note)}\n" for note in table.attrs["footnotes"])
    return f"{_markdown_text(table.attrs['caption'])}\n\n" + "\n".join(lines) + "\n" + notes


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_markdown_text(cell) for cell in cells) + " |"


def _markdown_text(text: str) -> str:
    text = " ".join(text.split())
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("&", "&amp;").replace("<", "&lt;")


def to_csv(table: pd.DataFrame) -> str:
    """The same cells as comma-separated values, without caption and footnotes."""
    return table.to_csv(index=False, lineterminator="\n")


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    MISSING: "--",
    DAGGER: r"\textdagger{}",
    DOUBLE_DAGGER: r"\textdaggerdbl{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    **{character: "\\" + character for character in "&%$#_{}"},
}

ROWS_A_PAGE = 40  # of a LaTeX float


def to_latex(table: pd.DataFrame) -> str:
    """The table as floats, one page at most each and no wider; the document needs booktabs and graphicx."""
    text_columns = table.attrs["text_columns"]
    caption = _latex_text(table.attrs["caption"])
    notes = [rf"\par\smallskip {_latex_text(note)}" for note in table.attrs["footnotes"]]
    floats = ["% needs \\usepackage{booktabs,graphicx}"]
    for start in range(0, max(1, len(table)), ROWS_A_PAGE):
        part = table.iloc[start : start + ROWS_A_PAGE]
        head, *body = (_latex_line(line) for line in [tuple(table.columns), *part.itertuples(index=False)])
        floats += [
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            # a continued float keeps its number
            rf"\caption{{{caption}}}" if start == 0 else r"\addtocounter{table}{-1}\caption{(continued)}",
            # shrunk to the line where it is wider
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{'l' * text_columns}{'r' * (table.shape[1] - text_columns)}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            *(notes if start + ROWS_A_PAGE >= len(table) else ()),
            r"\end{table}",
        ]
    return "\n".join(floats) + "\n"


def _latex_line(cells: Sequence[str]) -> str:
    # braces: a line that begins with a bracket would be taken for an option of the \\ before it
    return " & ".join(_latex_text(cell) for cell in cells).replace("[", "{[}") + r" \\"


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def print_table(table: pd.DataFrame, console: Console | None = None) -> None:
    """The table in the terminal; a rule where the first column changes."""
    grid = Table(title=Text(table.attrs["caption"]), title_justify="left", caption_justify="left")
    if table.attrs["footnotes"]:
        grid.caption = Text("\n".join(table.attrs["footnotes"]))
    for position, name in enumerate(table.columns):
        grid.add_column(Text(name), justify="right" if position >= table.attrs["text_columns"] else "left")
    lines = list(table.itertuples(index=False))
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        ends = following is None or following[0] != line[0]
        grid.add_row(*(Text(cell) for cell in line), end_section=ends)
    (console or Console()).print(grid)


def table_files(table: pd.DataFrame, stem: str, folder: str | Path, numbers: pd.DataFrame | None = None) -> list[Path]:
    """The files `<stem>.{md,csv,tex}` written into the folder; the CSV holds `numbers` where they are given."""
    csv = to_csv(table if numbers is None else numbers)
    texts = {"md": to_markdown(table), "csv": csv, "tex": to_latex(table)}
    paths = [Path(folder) / f"{stem}.{suffix}" for suffix in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        write_text(path, text)
    return paths
