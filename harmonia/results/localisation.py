"""What a job on mosaics leaves: localisation.parquet (scored cells), aggatt.safetensors (mean maps), mosaics.json."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from safetensors.numpy import save_file

from harmonia.errors import InputError
from harmonia.results.frames import Frame
from harmonia.results.parquet import Double, Flag, RowsFile, Single, Text, Whole
from harmonia.store.files import replacing, write_text
from harmonia.store.guarded import read_arrays

MosaicProtocol = Literal["gridpg", "difull", "dipart"]
GRIDPG, DIFULL, DIPART = PROTOCOLS = get_args(MosaicProtocol)
LOCALISATION = "localisation.parquet"
AGGATT = "aggatt.safetensors"
AGGATT_BINS = ((0, 2), (2, 5), (5, 50), (50, 95), (95, 98), (98, 100))  # percent of the ranks, best first
AGGATT_ARRAYS = ("means", "examples", "pictures", "bins", "scores")
_MOST_PX = 16384  # pixels of a mosaic
MOSAICS = "mosaics.json"  # which image stands where, unscored cells too


class LocalisationRows(Frame):
    """A line per scored cell of a mosaic."""

    grid: Whole  # mosaics are counted from 0
    cell: Whole  # row by row, the scored one
    cells: Whole  # n * n
    image_id: Text
    path: Text
    source: Text
    method: Text
    protocol: Text  # of PROTOCOLS
    layer: Text  # "": the method has none
    label: Text  # of the cell's image, the class explained
    predicted: Text  # by the network so presented
    p_explained: Single
    in_top: Flag  # the label is among the n * n most probable classes
    localisation: Double  # positive attribution inside over all of it; 0 where that is 0
    undefined: Flag  # no positive attribution, or a map that is not finite
    mass: Double  # positive attribution inside


LOCALISATION_FILE = RowsFile(LOCALISATION, LocalisationRows)
write_localisation, read_localisation = LOCALISATION_FILE.write, LOCALISATION_FILE.read


def summarise_localisation(rows: LocalisationRows) -> dict[str, float | int | None]:
    """One job's metrics, `<source>/<protocol>/<metric>`: localisation's mean, median and quartiles, and counts."""
    scores = rows["localisation"]
    key = f"{rows['source'].iloc[0]}/{rows['protocol'].iloc[0]}"
    return {
        f"{key}/localisation": float(scores.mean()),
        **{f"{key}/localisation_{name}": float(scores.quantile(at)) for name, at in QUARTILES.items()},
        f"{key}/undefined": int(rows["undefined"].sum()),
        f"{key}/in_top": float(rows["in_top"].mean()),
        f"{key}/cells": len(rows),
    }


QUARTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}


def write_mosaics(job_folder: str | Path, n: int, scored: Sequence[int], mosaics: Sequence[Sequence[str]]) -> None:
    """The image ids of every mosaic of n x n, row by row, and the places of the scored cells."""
    lines = ",\n  ".join(json.dumps(list(ids)) for ids in mosaics)
    text = f'{{"n": {n}, "scored": {json.dumps(list(scored))}, "mosaics": [\n  {lines}\n]}}\n'
    write_text(Path(job_folder) / MOSAICS, text)


def write_aggatt(job_folder: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Mean maps by rank bin and examples, whole or not at all."""
    with replacing(Path(job_folder) / AGGATT) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)


def read_aggatt(job_folder: str | Path) -> dict[str, np.ndarray]:
    """What write_aggatt wrote: means (6, P, P); of B cells examples (B, P, P), pictures (B, 3, P, P), bins, scores."""
    arrays = read_arrays(Path(job_folder), AGGATT)
    shapes = {name: arrays[name].shape if name in arrays else () for name in AGGATT_ARRAYS}
    kinds = {arrays[name].dtype.kind for name in AGGATT_ARRAYS if name in arrays}
    side, count = (0, *shapes["means"])[-1], (0, *shapes["bins"])[-1]
    if not kinds <= set("fiu") or shapes != {
        "means": (len(AGGATT_BINS), side, side) if 1 <= side <= _MOST_PX else (),
        "examples": (count, side, side),
        "pictures": (count, 3, side, side),
        "bins": (count,),
        "scores": (count,),
    }:
        path = Path(job_folder) / AGGATT
        raise InputError(f"{path} must hold AggAtt's arrays, got shapes {shapes}; run the job again")
    return arrays
