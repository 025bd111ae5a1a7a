"""Finished jobs as a dataset that needs no harmonia: rows and small maps as Parquet, and a card.

README.md                   the card
jobs/0000/rows.parquet      a job's rows, or scores.parquet, or localisation.parquet
jobs/0000/config.yaml ...   what else a report reads: the export is a folder of jobs
maps/0000.parquet           its maps, as PNG
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from PIL import Image

from harmonia.errors import InputError, home, left_out
from harmonia.export.card import card
from harmonia.results import localisation, rows, scores
from harmonia.results.jobs import JobFolder, check_run, find_jobs
from harmonia.results.maps import MAPS, SmallMaps, read_small_maps
from harmonia.results.parquet import RowsFile
from harmonia.results.representations import read_representations
from harmonia.store.files import utf8, write_text
from harmonia.store.guarded import MOST_ARRAYS, is_there, read_json, regular_file
from harmonia.store.parquet import texts, write_table, writing
from harmonia.store.whole import EXPORT

ROWS_FILES = {file.name: file for file in (rows.ROWS_FILE, scores.SCORES_FILE, localisation.LOCALISATION_FILE)}
_BESIDE: dict[str, Callable[[Path], Any]] = {  # what a report reads, too, and how
    rows.REPRESENTATIONS: read_representations,
    localisation.AGGATT: localisation.read_aggatt,
    localisation.MOSAICS: lambda folder: read_json(folder, localisation.MOSAICS),
}
_OF_THE_PLACE = {"command", "host", "visible_devices"}  # of environment.json
_NO_NUMBERS = {"logger", "tracking", "store", "trainer", "paths"}  # groups of config.yaml, but for what follows
_PATH_KEYS, _TRAINER_KEYS = {"weights"}, {"name", "precision"}


@dataclass(frozen=True)
class Export:
    folder: Path
    jobs: dict[str, JobFolder] = field(default_factory=dict)  # by name, in the order of their folders
    left_out: dict[str, str] = field(default_factory=dict)  # jobs by name, with the reason


def write_export(run: str | Path, out: str | Path, license: str = "unknown") -> Export:
    """The dataset of every finished job in a folder or below it; see the module for its files.

    run: the folder; out: where it goes, new, empty or an earlier export. license: an identifier of the hub's.
    InputError for another out, and where no job is finished: an earlier export then stays.

        write_export("multirun_outputs/FOLDER", "my-results", license="cc-by-4.0")
    """
    run, out = home(run), home(out)
    check_run(run, "harmonia.export")
    places = [os.path.realpath(run), os.path.realpath(out)]
    if os.path.commonpath(places) in places:  # a later report would take the copies for jobs
        raise InputError(f"out and run must lie outside of one another, got {str(out)!r}; name another with out=FOLDER")
    with EXPORT.in_place_of(out) as new:
        export = Export(out)
        for job in find_jobs(run):
            name = utf8(run.resolve().name if job.folder == run else job.folder.relative_to(run).as_posix())
            number = f"{len(export.jobs):04}"
            with left_out(export.left_out, name, OSError):
                _write_job(job, name, new, number)
                export.jobs[name] = job
            if name in export.left_out:
                shutil.rmtree(new / "jobs" / number, ignore_errors=True)
        if not export.jobs:
            reasons = "".join(f": {reason}" for reason in list(export.left_out.values())[:1])
            raise InputError(f"run must hold a finished job, got none in {str(run)!r}{reasons}; run one")
        write_text(new / "README.md", card(run.resolve().name, license, export.jobs, new))
    return export


def _write_job(job: JobFolder, name: str, new: Path, number: str) -> None:
    if job.error is not None:
        raise InputError(job.error)
    if job.rows_file not in ROWS_FILES:
        raise InputError(f"rows must be one of {', '.join(ROWS_FILES)}, got {job.rows_file!r}; share that job yourself")
    folder = new / "jobs" / number
    folder.mkdir(parents=True)
    facts = {"job": name, "data": job.data_name}
    _write_rows(job, ROWS_FILES[job.rows_file], facts, folder)
    for beside, read in _BESIDE.items():
        if is_there(job.folder, beside):
            read(job.folder)  # what cannot be read is not handed on
            shutil.copyfile(regular_file(job.folder, beside, MOST_ARRAYS), folder / beside)
    config = {key: value for key, value in job.config.items() if key not in _NO_NUMBERS}
    config["paths"] = {key: value for key, value in job.group("paths").items() if key in _PATH_KEYS}
    config["trainer"] = {key: value for key, value in job.group("trainer").items() if key in _TRAINER_KEYS}
    environment = {key: value for key, value in job.environment.items() if key not in _OF_THE_PLACE}
    write_text(folder / rows.CONFIG, yaml.safe_dump(_without_places(config), sort_keys=False, allow_unicode=True))
    write_text(folder / rows.ENVIRONMENT, json.dumps(_without_places(environment), indent=2, sort_keys=True) + "\n")
    rows.write_summary(folder, job.summary)
    if is_there(job.folder, MAPS):
        (new / "maps").mkdir(exist_ok=True)
        named = {"source": str(job.group("source").get("name")), "method": str(job.group("method").get("name"))}
        _write_maps(read_small_maps(job.folder), facts | named, new / "maps" / f"{number}.parquet")


def _without_places(value: Any) -> Any:
    """The same; of every absolute path a digest and its last part, so that two folders of one name stay two."""
    if isinstance(value, Mapping):
        return {key: _without_places(of_key) for key, of_key in value.items()}
    if isinstance(value, list):
        return [_without_places(one) for one in value]
    if isinstance(value, str) and value.startswith(("/", "~")):
        return f"{hashlib.sha256(value.encode()).hexdigest()[:8]}/{Path(value).name}"
    return value


def _write_rows(job: JobFolder, file: RowsFile[Any], facts: Mapping[str, str], folder: Path) -> None:
    """As the job has them, with the facts as columns in front; texts plain, paths from the data's folder on."""
    below = _below(str(job.group("data").get("root") or ""))
    kinds = [(column.name, _plain(column.type)) for column in file.schema]
    schema = pa.schema([*((name, pa.string()) for name in facts), *kinds])
    with writing(folder / file.name, schema) as copy:
        for table in file.read_tables(job.folder, file.schema.names):
            columns = {name: pa.array([value] * len(table), pa.string()) for name, value in facts.items()}
            columns |= {name: table[name].cast(kind) for name, kind in kinds}
            columns["path"] = texts(map(below, columns["path"].to_pylist()))
            copy.write_table(pa.table(columns, schema))


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _below(root: str) -> Callable[[str | None], str | None]:
    start = os.path.join(os.path.abspath(os.path.expanduser(root)), "") if root else "\0"

    def place(path: str | None) -> str | None:
        return path and (path.removeprefix(start) if path.startswith(start) else Path(path).name)

    return place


def _write_maps(maps: SmallMaps, facts: Mapping[str, str], path: Path) -> None:
    """A line an image; as Hugging Face's datasets reads pictures: PNG, and the schema says so."""
    count, pictures = len(maps.image_ids), pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {name: pa.array([value] * count, pa.string()) for name, value in facts.items()}
    columns |= {"image_id": texts(maps.image_ids), "digest": texts(maps.digests or [""] * count)}
    columns["soft"] = pa.array(list(map(_png, maps.soft)), pictures)
    regions = map(_png, maps.smallest_areas) if maps.areas else [None] * count
    columns["smallest_areas"] = pa.array(list(regions), pictures)
    sides = zip(("left", "top", "right", "bottom"), maps.boxes.T, strict=True)
    columns |= {name: pa.array(side, pa.float32()) for name, side in sides}
    table = pa.table(columns)
    kinds = {column.name: {"_type": "Value", "dtype": str(column.type)} for column in table.schema}
    kinds |= {name: {"_type": "Image"} for name in ("soft", "smallest_areas")}
    # the key and the form that datasets writes itself
    features = {"huggingface": json.dumps({"info": {"features": kinds}})}
    write_table(path, table.replace_schema_metadata(features))


def _png(picture: np.ndarray) -> dict[str, bytes | None]:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}
