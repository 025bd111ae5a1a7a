"""The rows of finished jobs as one: which cells count, and what names those that differ."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harmonia.errors import InputError
from harmonia.results.jobs import (
    Job,
    data_options,
    differing,
    image_set,
    options_of,
    recorded_networks,
    recorded_start,
    section,
)
from harmonia.results.rows import SCHEMA, codes_of, read_pieces, read_tables, with_categories

Frame = Any  # a pandas DataFrame: its annotations do not tell a column from a frame
SETTING = ["label_policy", "fill", "data"]  # cells that differ in one of these answer different questions
LINE = ["source", "method", "variant"]
CELL = [*LINE, "target", "arm"]

_OF_ROWS = ["source", "method", "label_policy", "fill", "target", "arm"]  # one for all rows of a cell
_FROM_JOB = [
    "job",
    "unreadable",
    "data",
    "image_set",
    "data_options",
    "images",
    "started",
    "options",
    "target_options",
    "variant",
]
_FROM_JOB += ["family", "target_family", "source_parameters", "target_parameters", "random_weights"]

Read = Callable[[Sequence[str]], Iterable[Frame]]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows by cell; every call of read goes through the files again."""

    cells: Frame  # a line per cell: job, target, arm, and what else is the same for all of its rows
    image_ids: Mapping[str, list[str]] = field(default_factory=dict)  # by job, in the order of its rows
    # parts of the rows with these columns and the cell's position among the cells
    read: Read = field(default=lambda columns: ())

    def frame(self, columns: Sequence[str], chosen: np.ndarray, of_cells: Sequence[str]) -> pd.DataFrame:
        """The rows of the cells that a mask chooses as one frame; names are categories."""
        chosen_rows: Iterator[Frame] = (piece[chosen[piece[CELL_COLUMN]]] for piece in self.read(columns))
        frame = with_categories(chosen_rows)
        cell = frame.pop(CELL_COLUMN)
        factorized = {name: pd.factorize(self.cells[name]) for name in of_cells}
        named = {name: pd.Categorical.from_codes(codes[cell], names) for name, (codes, names) in factorized.items()}
        return frame.assign(**named)


def gather(parts: Sequence[Rows]) -> Rows:
    """The rows of several jobs, each as `job_rows` gives them, as one.

    Where one data set's name stands for several sets of images, a digest tells them apart; a part of a set is no other
    set. A cell that ran twice with the same options counts once, on the most images, the later job's; with others it
    counts as a variant, named by the options in which the variants differ.
    """
    if not parts:
        return Rows(pd.DataFrame(columns=[*_OF_ROWS, *_FROM_JOB]))
    parts = _in_order(parts)
    line = ["source", "method", *SETTING]
    given = [*line, "target", "arm", "options", "target_options", "image_set"]
    cells: Frame = pd.concat([part.cells for part in parts], ignore_index=True)
    cells["image_set"] = cells["job"].map(_image_sets(parts))
    sets = cells.groupby("data")["image_set"].transform("nunique")
    cells["data"] = cells["data"].where(sets == 1, cells["data"] + " [" + cells["image_set"] + "]")
    ranked = cells.sort_values(["images", "started"], kind="stable")
    chosen = ranked.groupby(given)["job"].transform("last")
    used = (cells["job"] == chosen.reindex(cells.index)).to_numpy()
    place = np.where(used, np.cumsum(used) - 1, -1)
    cells = cells[used].reset_index(drop=True)
    of_job = cells.groupby(line)["options"].transform(differing)
    of_target = cells.groupby([*line, "target"])["target_options"].transform(differing)
    both = zip(of_job, of_target, strict=True)
    cells = cells.assign(variant=[", ".join(filter(None, parts)) for parts in both])
    places = np.split(place, np.cumsum([len(part.cells) for part in parts])[:-1])

    def read(columns: Sequence[str]) -> Iterator[Frame]:
        for part, of_part in zip(parts, places, strict=True):
            for piece in part.read(columns) if (of_part >= 0).any() else ():
                cell = of_part[piece[CELL_COLUMN]]
                yield piece.assign(**{CELL_COLUMN: cell})[cell >= 0]

    counted = set(cells["job"])
    image_ids = {job: ids for part in parts for job, ids in part.image_ids.items() if job in counted}
    return Rows(cells, image_ids, read)


def _in_order(parts: Sequence[Rows]) -> list[Rows]:
    """A source's jobs side by side, methods in one order; both as they are met first."""
    names = [part.cells[["source", "method"]].iloc[0].tolist() for part in parts]
    sources, methods = (list(dict.fromkeys(met)) for met in zip(*names, strict=True))
    order = sorted(range(len(parts)), key=lambda n: (sources.index(names[n][0]), methods.index(names[n][1])))
    return [parts[number] for number in order]


def _image_sets(parts: Sequence[Rows]) -> dict[str, str]:
    """By job, a digest of its options of data and of the largest set of images with these that holds all of its own."""
    found: dict[str, str] = {}
    wholes: dict[str, list[tuple[str, set[str]]]] = {}  # by options: sets of which none holds another
    jobs = [(job, ids, part.cells["data_options"].iloc[0]) for part in parts for job, ids in part.image_ids.items()]
    for job, ids, options in sorted(jobs, key=lambda of_job: -len(of_job[1])):
        known = wholes.setdefault(options, [])
        whole = next((digest for digest, held in known if held.issuperset(ids)), None)
        if whole is None:
            whole = image_set(ids, options)
            known.append((whole, set(ids)))
        found[job] = whole
    return found


def job_rows(job: Job) -> Rows:
    """A finished job's rows; of its cells also what else a table needs to know of the job."""
    cells, image_ids = _cells_and_images(job)
    data, source = (section(job.config, name) for name in ("data", "source"))
    options, of_targets = options_of(job.config)
    entries = [entry for entry in section(job.config, "target").values() if isinstance(entry, dict)]
    targets = {str(entry.get("name")): entry for entry in [*entries, source]}
    networks = recorded_networks(job.folder)
    of_job = {
        "job": str(job.folder),
        "family": str(source.get("family") or ""),
        "source_parameters": networks.get(str(source.get("name")), {}).get("parameters", np.nan),
        "random_weights": source.get("weights") == "random",
        "unreadable": float(job.summary.get("images_unreadable") or 0),
        "data": str(data.get("name") or Path(str(data.get("root") or "")).name or "unnamed data"),
        "data_options": data_options(options),
        "images": len(image_ids),
        "started": recorded_start(job.folder),
        "options": json.dumps(options, sort_keys=True),
    }
    of_target = [
        {
            "target_options": json.dumps(of_targets.get(name, {}), sort_keys=True),
            "target_family": str(targets.get(name, {}).get("family") or ""),
            "target_parameters": networks.get(name, {}).get("parameters", np.nan),
        }
        for name in cells["target"]
    ]
    cells = cells.assign(**of_job).join(pd.DataFrame(of_target))
    return Rows(cells, {of_job["job"]: image_ids}, partial(read_cells, job.folder, cells))


def _cells_and_images(job: Job) -> tuple[Frame, list[str]]:
    """A line per target and arm, and the ids of the images, in the order of the rows; a row of each at most once."""
    cells: list[Frame] = []
    numbers: dict[tuple[str, str], int] = {}
    images: dict[str, int] = {}
    places: list[np.ndarray] = []
    # all columns: a file that is damaged anywhere is left out now, and does not end the report later
    for table in read_tables(job.folder, SCHEMA.names):
        piece: Frame = table.select([*_OF_ROWS, "image_id"]).to_pandas()
        if lacking := [name for name in (*_OF_ROWS, "image_id") if piece[name].isna().any()]:
            raise InputError(f"rows must name their {', '.join(lacking)}, got none in {job.folder}; run the job again")
        known = len(numbers)
        cell = cell_of_rows(piece, lambda pair: numbers.setdefault(pair, len(numbers)))
        new, first = np.unique(cell, return_index=True)
        cells.append(piece[_OF_ROWS].iloc[first[new >= known]].astype("str"))
        places.append(np.stack([cell, codes_of(piece["image_id"], images)]))
    if not images:
        raise InputError(f"rows must be one per image, target and arm, got none in {job.folder}; run the job again")
    cell, image = np.concatenate(places, axis=1)
    if len(repeats := np.flatnonzero(np.bincount(cell * len(images) + image) > 1)):
        of_cell, of_image = divmod(int(repeats[0]), len(images))
        target, arm = list(numbers)[of_cell]
        another = {"target": target, "arm": arm, "image_id": list(images)[of_image]}
        raise InputError(f"rows must be one per image, target and arm, got another {another}")
    return pd.concat(cells, ignore_index=True), list(images)


CELL_COLUMN = "cell"
_OF_CELL = ["target", "arm"]


def read_cells(job_folder: Path, cells: Frame, columns: Sequence[str]) -> Iterator[Frame]:
    """Parts of a job's rows, each with the position of its cell among cells (target, arm); other rows are left out."""
    places = {pair: place for place, pair in enumerate(cells[_OF_CELL].itertuples(index=False, name=None))}
    pieces: Iterable[Frame] = read_pieces(job_folder, [*_OF_CELL, *columns])
    for piece in pieces:
        cell = cell_of_rows(piece, lambda pair: places.get(pair, -1))
        yield piece.drop(columns=_OF_CELL).assign(**{CELL_COLUMN: cell})[cell >= 0]


def cell_of_rows(piece: Frame, place_of: Callable[[tuple[str, str]], int]) -> np.ndarray:
    """What place_of makes of each row's target and arm; asked once for each pair, in the order of the rows."""
    target, arm = (piece[name].cat for name in _OF_CELL)
    pair = target.codes.to_numpy(int) * len(arm.categories) + arm.codes.to_numpy(int)
    codes, pairs = pd.factorize(pair)
    of_pair = [
        place_of((target.categories[one // len(arm.categories)], arm.categories[one % len(arm.categories)]))
        for one in pairs.tolist()
    ]
    return np.array(of_pair, np.int32)[codes]
