"""Tables of printed cells as Markdown, CSV, LaTeX, in notebooks and in the terminal.

A table is a frame of text. attrs["caption"] and, once for many tables where they stand together, attrs["intervals"]
stand above it, attrs["footnotes"] below it; the first attrs["text_columns"] columns are set left, the others, numbers,
right. attrs["views"] says by line and column which images of the browse page are behind a cell.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harmonia import media
from harmonia.store.files import write_text

MISSING = "\N{EN DASH}"  # as printed tables have it
NO_INTERVAL = f"[{MISSING}]"
DAGGER, DOUBLE_DAGGER = "\N{DAGGER}", "\N{DOUBLE DAGGER}"
ROWS_A_PAGE = 40  # of a LaTeX float


class Views(dict[tuple[int, int], dict[str, str]]):
    """Never changed, so never copied: pandas copies all of attrs with every row and column that it takes."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Views":
        return self


def table(
    cells: pd.DataFrame,
    caption: str,
    text_columns: int,
    footnotes: Sequence[str] = (),
    intervals: str = "",
    views: Mapping[tuple[int, int], dict[str, str]] | None = None,
) -> pd.DataFrame:
    """The frame with what its printed forms need."""
    printed = cells.copy()
    footnotes = list(footnotes)
    lacking = cells.map(lambda cell: isinstance(cell, str) and NO_INTERVAL in cell).to_numpy().any()
    if lacking and NO_INTERVAL not in intervals:
        footnotes.append(f"Where {NO_INTERVAL} stands is no interval: every resample of the images gives the same.")
    printed.attrs = {"caption": caption, "text_columns": text_columns, "footnotes": footnotes}
    printed.attrs |= {"intervals": intervals, "views": Views(views or {})}
    return printed


def whole_caption(table: pd.DataFrame) -> str:
    """Of a table that stands alone."""
    return f"{table.attrs['caption']} {table.attrs['intervals']}".rstrip()


def to_markdown(table: pd.DataFrame) -> str:
    """The table in GitHub's Markdown, its caption above it and its footnotes below."""
    text_columns = table.attrs["text_columns"]
    marks = ["---"] * text_columns + ["---:"] * (table.shape[1] - text_columns)
    lines = [[media.markdown(cell) for cell in line] for line in (table.columns, *table.itertuples(index=False))]
    printed = "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], marks, *lines[1:]))
    notes = "".join(f"\n{media.markdown(note)}\n" for note in table.attrs["footnotes"])
    return f"{media.markdown(whole_caption(table))}\n\n{printed}{notes}"


def to_html(table: pd.DataFrame) -> str:
    """The table for a notebook, its caption above it and its footnotes below."""
    notes = "".join(f"<p><small>{escape(media.visible(note))}</small></p>" for note in table.attrs["footnotes"])
    cells = table.map(media.visible).to_html(index=False, border=0)
    return f"<p>{escape(media.visible(whole_caption(table)))}</p>{cells}{notes}"


class Typeset(pd.DataFrame):
    """Numbers that show themselves as the report prints them; what is made of them is a plain frame."""

    _metadata: ClassVar = ["printed"]
    printed: pd.DataFrame

    @classmethod
    def of(cls, numbers: pd.DataFrame, printed: pd.DataFrame) -> "Typeset":
        frame = cls(numbers.copy())
        object.__setattr__(frame, "printed", printed)
        return frame

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def __repr__(self) -> str:
        return f"{whole_caption(self.printed)}\n\n{self.printed.map(media.visible).to_string(index=False)}"

    def _repr_html_(self) -> str:
        names = ", ".join(map(str, self.columns))
        return f"{to_html(self.printed)}<p><small>columns: {escape(media.visible(names))}</small></p>"


def to_csv(numbers: pd.DataFrame) -> str:
    """The frame, no cell of which a spreadsheet computes."""
    text = {name: numbers[name].map(media.csv) for name in numbers.select_dtypes(exclude=["number", "bool"])}
    return numbers.assign(**text).rename(columns=media.csv).to_csv(index=False, lineterminator="\n")


def to_latex(table: pd.DataFrame) -> str:
    """The table as floats, one page at most each and no wider; the document needs booktabs and graphicx."""
    text_columns = table.attrs["text_columns"]
    alignment = "l" * text_columns + "r" * (table.shape[1] - text_columns)
    notes = [rf"\par\smallskip {media.latex(note)}" for note in table.attrs["footnotes"]]
    floats = ["% needs \\usepackage{booktabs,graphicx}"]
    for start in range(0, max(1, len(table)), ROWS_A_PAGE):
        part = table.iloc[start : start + ROWS_A_PAGE].reset_index(drop=True)
        style = part.style.hide(axis="index").format(media.latex).format_index(media.latex, axis=1)
        # braces: a line that begins with a bracket would be taken for an option of the \\ before it
        tabular = style.to_latex(column_format=alignment, hrules=True).replace("[", "{[}")
        floats += [
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            # a continued float keeps its number
            rf"\caption{{{media.latex(whole_caption(table))}}}"
            if start == 0
            else r"\addtocounter{table}{-1}\caption{(continued)}",
            # shrunk to the line where it is wider
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            tabular.rstrip("\n") + "}",
            *(notes if start + ROWS_A_PAGE >= len(table) else ()),
            r"\end{table}",
        ]
    return "\n".join(floats) + "\n"


def print_table(table: pd.DataFrame, console: Console) -> None:
    """The table in the terminal; a rule where the first column changes."""
    grid = Table(title=Text(media.visible(whole_caption(table))), title_justify="left", caption_justify="left")
    if table.attrs["footnotes"]:
        grid.caption = Text("\n".join(map(media.visible, table.attrs["footnotes"])))
    for position, name in enumerate(table.columns):
        is_text = position < table.attrs["text_columns"]
        grid.add_column(Text(media.visible(name)), justify="left" if is_text else "right")
    lines = list(table.itertuples(index=False))
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        ends = following is None or following[0] != line[0]
        grid.add_row(*(Text(media.visible(cell)) for cell in line), end_section=ends)
    console.print(grid)


def table_files(table: pd.DataFrame, stem: str, folder: Path, numbers: pd.DataFrame) -> None:
    """The files `<stem>.{md,csv,tex}` written into the folder; the CSV holds the numbers."""
    for suffix, text in (("md", to_markdown(table)), ("csv", to_csv(numbers)), ("tex", to_latex(table))):
        write_text(folder / f"{stem}.{suffix}", text)
