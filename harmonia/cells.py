"""The rows of finished jobs, a part of them in memory at a time: what a table is made of fits whatever the images.

A cell is what one job made of its images by one target and one arm.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmonia.results import read_pieces, with_categories

CELL_COLUMN = "cell"
_OF_CELL = ["target", "arm"]

Read = Callable[[Sequence[str]], Iterable[pd.DataFrame]]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows by cell. Iterated over again, they are read again."""

    cells: Any  # a line per cell: job, target, arm, and what else is the same for all of its rows
    image_ids: Mapping[str, list[str]] = field(default_factory=dict)  # by job, in the order of its rows
    # parts of the rows with these columns and the cell's position among the cells
    read: Read = field(default=lambda columns: ())

    def frame(self, columns: Sequence[str], chosen: np.ndarray, of_cells: Sequence[str]) -> pd.DataFrame:
        """The rows of the cells that a mask chooses as one frame; names are categories."""
        frame = with_categories(piece[chosen[piece[CELL_COLUMN]]] for piece in self.read(columns))
        cell = frame.pop(CELL_COLUMN)
        factorized = {name: pd.factorize(self.cells[name]) for name in of_cells}
        named = {name: pd.Categorical.from_codes(codes[cell], names) for name, (codes, names) in factorized.items()}
        return frame.assign(**named)


def read_cells(job_folder: Path, cells: Any, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Parts of a job's rows, each with the position of its cell among cells (target, arm); other rows are left out."""
    places = {pair: place for place, pair in enumerate(cells[_OF_CELL].itertuples(index=False, name=None))}
    for piece in read_pieces(job_folder, [*_OF_CELL, *columns]):
        cell = cell_of_rows(piece, lambda pair: places.get(pair, -1))
        yield piece.drop(columns=_OF_CELL).assign(**{CELL_COLUMN: cell})[cell >= 0]


def cell_of_rows(piece: Any, place_of: Callable[[tuple[str, str]], int]) -> np.ndarray:
    """What place_of makes of each row's target and arm; asked once for each pair, in the order of the rows."""
    target, arm = (piece[name].cat for name in _OF_CELL)
    pair = target.codes.to_numpy(int) * len(arm.categories) + arm.codes.to_numpy(int)
    codes, pairs = pd.factorize(pair)
    of_pair = [
        place_of((target.categories[one // len(arm.categories)], arm.categories[one % len(arm.categories)]))
        for one in pairs.tolist()
    ]
    return np.array(of_pair, np.int32)[codes]
