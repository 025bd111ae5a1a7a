"""The rows of finished jobs as one: which cells count, and what names those that differ."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from harmonia.errors import InputError
from harmonia.results import frames
from harmonia.results.jobs import JobFolder, differing
from harmonia.results.rows import TransferRows, codes_of, read_pieces, read_tables, with_categories

CELL_COLUMN = "cell"  # of rows: the position of their cell among the cells

_SHARES = ("p_label", "p_explained", "p_predicted", "kept_area")
_OF_ROWS = ["source", "method", "label_policy", "fill", "target", "arm"]  # the same in all rows of a cell


class Setting(frames.Frame):
    """Cells that differ in it answer different questions."""

    label_policy: str  # which class is explained
    fill: str  # what the dropped part becomes
    data: str  # the data set's name


class Explainers(frames.Frame):
    """Who explains: a network with a method."""

    source: str
    method: str
    variant: str  # options in which it differs from others of the source and method; "" where in none


class CellNames(Explainers):
    """What is shown to whom."""

    target: str  # the network asked
    arm: str  # what it is shown


class CellFacts(CellNames):
    """A cell, its job and its networks."""

    job: str  # its folder
    family: str  # of the source; "" where the yaml names none
    target_family: str
    source_parameters: float  # how many; NaN where none is recorded
    target_parameters: float
    random_weights: bool  # the source's
    source_kind: str  # of its yaml: timm, joint, vote, ...
    voters: str  # JSON, names of the networks that the source is made of; "" of one network
    voted: bool  # whether the target is one of them
    passes: float  # of networks, an image's map; NaN where they are not counted
    unreadable: float  # images that the job could not read


class Cells(CellFacts, Setting):
    """A line for each cell of one job or of several: all rows of one target under one arm."""

    data_options: str  # what tells data sets of one name apart, JSON
    images: int
    started: str  # sorts by time; "" where none is recorded
    options: str  # the job's that change numbers, JSON
    target_options: str  # the target's own, JSON
    image_set: str  # digest of the images, "" of a job alone


SETTING, EXPLAINER, CELL = Setting.columns_of(), Explainers.columns_of(), CellNames.columns_of()
Read = Callable[[Sequence[str]], Iterable[frames.Frame]]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows by cell; every call of read goes through the files again."""

    cells: Cells
    image_ids: Mapping[str, list[str]] = field(default_factory=dict)  # by job, in the order of its rows
    # parts of the rows with these columns and CELL_COLUMN
    read: Read = field(default=lambda columns: ())

    def frame(self, columns: Sequence[str], chosen: np.ndarray, of_cells: Sequence[str]) -> pd.DataFrame:
        """The rows of the cells that a mask chooses as one frame; names are categories."""
        frame = with_categories(piece[chosen[piece[CELL_COLUMN]]] for piece in self.read(columns))
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
        return Rows(Cells.of_lines())
    parts = _in_order(parts)
    cells: Any = pd.concat([part.cells for part in parts], ignore_index=True)
    cells["image_set"] = cells["job"].map(_image_sets(parts))
    cells["data"] = tag_colliding_names(cells["data"], cells["image_set"], cells["image_set"])
    same = ["source", "method", *SETTING, "target", "arm", "options", "target_options", "image_set"]
    counts = latest_of_repeats(cells, same)
    position = np.where(counts, np.cumsum(counts) - 1, -1)  # among the cells that count
    positions = np.split(position, np.cumsum([len(part.cells) for part in parts])[:-1])
    cells = cells[counts].reset_index(drop=True)
    line = ["source", "method", *SETTING]
    of_job = cells.groupby(line)["options"].transform(differing)
    of_target = cells.groupby([*line, "target"])["target_options"].transform(differing)
    variants = [", ".join(filter(None, options)) for options in zip(of_job, of_target, strict=True)]
    cells = Cells.checked(cells.assign(variant=variants))

    def read(columns: Sequence[str]) -> Iterator[frames.Frame]:
        for part, position_of in zip(parts, positions, strict=True):
            for piece in part.read(columns) if (position_of >= 0).any() else ():
                cell = position_of[piece[CELL_COLUMN]]
                yield piece.assign(**{CELL_COLUMN: cell})[cell >= 0]

    jobs = set(cells["job"])
    image_ids = {job: ids for part in parts for job, ids in part.image_ids.items() if job in jobs}
    return Rows(cells, image_ids, read)


def _in_order(parts: Sequence[Rows]) -> list[Rows]:
    """A source's jobs side by side, methods in one order; both as they are met first."""
    names = [part.cells[["source", "method"]].iloc[0].tolist() for part in parts]
    sources, methods = (list(dict.fromkeys(met)) for met in zip(*names, strict=True))
    order = sorted(range(len(parts)), key=lambda n: (sources.index(names[n][0]), methods.index(names[n][1])))
    return [parts[number] for number in order]


def _image_sets(parts: Sequence[Rows]) -> dict[str, str]:
    """By job, a digest of its options of data and of the largest set of images with these that holds all of its own."""
    digests: dict[str, str] = {}
    wholes: dict[str, list[tuple[str, set[str]]]] = {}  # by options: sets of which none holds another
    jobs = [(job, ids, part.cells["data_options"].iloc[0]) for part in parts for job, ids in part.image_ids.items()]
    for job, ids, options in sorted(jobs, key=lambda of_job: -len(of_job[1])):
        of_options = wholes.setdefault(options, [])
        digest = next((digest for digest, held in of_options if held.issuperset(ids)), None)
        if digest is None:
            text = options + "".join(f"{image_id}\0" for image_id in sorted(ids))
            digest = hashlib.sha256(text.encode("utf-8")).hexdigest()[:8]
            of_options.append((digest, set(ids)))
        digests[job] = digest
    return digests


def tag_colliding_names(data: pd.Series, kinds: pd.Series, tags: pd.Series) -> pd.Series:
    """Names of data; one that stands for several kinds bears their tags, too."""
    return data.where(kinds.groupby(data).transform("nunique") == 1, data + " [" + tags + "]")


def latest_of_repeats(lines: pd.DataFrame, same: list[str]) -> np.ndarray:
    """Which lines to keep: of those alike in these columns the one on the most images, of equals the latest."""
    ranked = lines.sort_values(["images", "started"], kind="stable")
    return lines.index.isin(ranked.drop_duplicates(same, keep="last").index)


def job_rows(job: JobFolder) -> Rows:
    """A finished job's rows; of its cells also what else a table needs to know of the job."""
    cells, image_ids = _cells_and_images(job)
    source = job.group("source")
    families = {str(entry.get("name")): str(entry.get("family") or "") for entry in [*job.targets.values(), source]}
    maps = (job.summary.get("maps_computed") or 0) + (job.summary.get("maps_cached") or 0)
    of_job = {
        "job": str(job.folder),
        "family": str(source.get("family") or ""),
        "source_parameters": job.parameters(str(source.get("name"))),
        "random_weights": job.random_weights,
        "source_kind": str(job.group("source").get("kind") or ""),
        "voters": json.dumps(job.voters) if job.voters else "",
        "passes": (job.summary.get("network_passes/maps") or np.nan) / maps if maps else np.nan,
        "unreadable": float(job.summary.get("images_unreadable") or 0),
        "data": job.data_name,
        "data_options": job.data_options,
        "images": len(image_ids),
        "started": job.started,
        "variant": "",
        "image_set": "",
    }
    of_target = {
        "options": [json.dumps(_options_under(fill, job.options), sort_keys=True) for fill in cells["fill"]],
        "target_options": [json.dumps(job.target_options.get(name, {}), sort_keys=True) for name in cells["target"]],
        "target_family": [families.get(name, "") for name in cells["target"]],
        "voted": [job.known_of(name).get("voted") is True for name in cells["target"]],
        "target_parameters": [job.parameters(name) for name in cells["target"]],
    }
    cells = Cells.checked(cells.assign(**of_job, **of_target))
    return Rows(cells, {of_job["job"]: image_ids}, partial(_read_cells, job, cells))


def _options_under(fill: str, options: dict[str, str]) -> dict[str, str]:
    """The job's options; of a target that was shown black instead of its fill those of a job with that fill."""
    if fill != "black" or options.get("fill.name", fill) == fill:
        return options
    others = {key: value for key, value in options.items() if not key.startswith("fill.")}
    return others | {"fill._target_": "Black", "fill.name": fill}


def _cells_and_images(job: JobFolder) -> tuple[pd.DataFrame, list[str]]:
    """A line per target and arm, and the ids of the images, in the order of the rows; a row of each at most once."""
    cells: list[pd.DataFrame] = []
    numbers: dict[tuple[str, str], int] = {}  # of cells
    images: dict[str, int] = {}
    pairs: list[np.ndarray] = []  # numbers of cell and image, a column for each row
    # all columns: a file that is damaged anywhere is left out now, and does not end the report later
    for table in read_tables(job.folder, TransferRows.columns_of()):
        piece: Any = table.select([*_OF_ROWS, "image_id"]).to_pandas()
        if lacking := [name for name in piece if piece[name].isna().any()]:
            raise InputError(f"rows must name their {', '.join(lacking)}, got none in {job.folder}; run the job again")
        for name in _SHARES:
            shares = table[name].to_numpy()
            if ((shares < -0.01) | (shares > 1.01)).any():  # NaN is neither
                raise InputError(f"{name} must lie in 0..1, got others in {job.folder}; run the job again")
        before = len(numbers)
        cell = _cell_of_rows(piece, lambda pair: numbers.setdefault(pair, len(numbers)))
        new, first = np.unique(cell, return_index=True)
        cells.append(piece[_OF_ROWS].iloc[first[new >= before]].astype("str"))
        pairs.append(np.stack([cell, codes_of(piece["image_id"], images)]))
    if not images:
        raise InputError(f"rows must be one per image, target and arm, got none in {job.folder}; run the job again")
    cell, image = np.concatenate(pairs, axis=1)
    if len(repeats := np.flatnonzero(np.bincount(cell * len(images) + image) > 1)):
        of_cell, of_image = divmod(int(repeats[0]), len(images))
        target, arm = list(numbers)[of_cell]
        another = {"target": target, "arm": arm, "image_id": list(images)[of_image]}
        raise InputError(f"rows must be one per image, target and arm, got another {another}; run the job again")
    return pd.concat(cells, ignore_index=True), list(images)


def _read_cells(job: JobFolder, cells: Cells, columns: Sequence[str]) -> Iterator[frames.Frame]:
    """Parts of a job's rows, each with its cell's position; rows of no cell are left out."""
    positions = {pair: position for position, pair in enumerate(zip(cells["target"], cells["arm"], strict=True))}
    for piece in read_pieces(job.folder, ["target", "arm", *columns]):
        cell = _cell_of_rows(piece, lambda pair: positions.get(pair, -1))
        yield piece.drop(columns=["target", "arm"]).assign(**{CELL_COLUMN: cell})[cell >= 0]


def _cell_of_rows(piece: frames.Frame, number_of: Callable[[tuple[str, str]], int]) -> np.ndarray:
    """The number of each row's target and arm; asked once for each pair, in the order of the rows."""
    groups = piece.groupby(["target", "arm"], sort=False, observed=True)
    return np.array([number_of(pair) for pair, _ in groups], np.int32)[groups.ngroup()]
