"""The dataset card: a README that the Hugging Face hub reads, and so can a person."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from harmonia.media import markdown, number_of
from harmonia.results.jobs import JobFolder
from harmonia.results.localisation import LOCALISATION
from harmonia.results.rows import ROWS
from harmonia.results.scores import SCORES

# a table of the dataset: its name, its files, a line of it
TABLES = {
    "rows": (f"jobs/*/{ROWS}", "an image, shown to a target under an arm"),
    "scores": (f"jobs/*/{SCORES}", "an image and a score of its map"),
    "localisation": (f"jobs/*/{LOCALISATION}", "a scored cell of a mosaic"),
    "maps": ("maps/*.parquet", "an image's map"),
}
_OF_JOB = ["files", "job", "source", "method", "data", "targets", "images", "harmonia", "when"]
_CLASS = "WordNet id, or the data set's own name"
DESCRIBED = {  # unit or range, and meaning
    "job": ("text", "the job, as in the table above"),
    "data": ("text", "the data set"),
    "image_id": ("text", "the image, the same in all tables"),
    "path": ("text", "its file, from the data set's folder on; the image is no part of this data set"),
    "digest": ("64 hexadecimal digits", "SHA-256 of its file; empty in jobs of early versions"),
    "source": ("text", "the network that is explained"),
    "method": ("text", "the attribution method"),
    "label_policy": ("text", "which class is explained: the predicted one, the true one, ..."),
    "arm": ("text", "what is shown: image, soft (the map as a dimmer), area30 (its top 30 %), or a control"),
    "fill": ("text", "what the dropped part becomes"),
    "target": ("text", "the network that is asked"),
    "label": (_CLASS, "the image's class; null where the data has none"),
    "predicted": (_CLASS, "what the target names first"),
    "top5": ("list of classes", "the target's five most probable, the first one first"),
    "explained": (_CLASS, "the class that the map is about"),
    "source_predicted": (_CLASS, "what the source names on the whole image"),
    "p_label": ("0 to 1", "the target's probability of the label; NaN: it lacks the class"),
    "p_explained": ("0 to 1", "the probability of the class explained; NaN: the network lacks it"),
    "p_predicted": ("0 to 1", "the target's probability of what it names"),
    "entropy": ("nats, 0 or more", "of the target's probabilities"),
    "kept_area": ("0 to 1", "mean weight of what is kept over the target's view"),
    "flag": ("text", "of the map: empty, zero, constant, non-finite"),
    "layer": ("text", "the layer that the method explains; empty: none"),
    "smooth": ("cells of the map", "side of the Gaussian on the map; 0: none"),
    "evaluation": ("text", "the evaluation"),
    "metric": ("text", "the score"),
    "better": ("higher, lower or empty", "how the score judges; empty: it describes"),
    "value": ("as the score has it", "NaN where undefined"),
    "reason": ("text", "why it is undefined"),
    "grid": ("count from 0", "the mosaic"),
    "cell": ("count from 0", "the scored cell, row by row"),
    "cells": ("count", "cells of the mosaic"),
    "protocol": ("gridpg, difull, dipart", "how the mosaic is shown"),
    "in_top": ("true or false", "whether the label is among as many most probable classes as there are cells"),
    "localisation": ("0 to 1", "positive attribution inside the cell over all of it; 0 where that is 0"),
    "undefined": ("true or false", "no positive attribution, or a map that is not finite"),
    "mass": ("attribution, 0 or more", "positive attribution inside the cell"),
    "soft": ("PNG, 0 to 255", "the soft map over the source's view, 255 keeps; at most 32 cells a side"),
    "smallest_areas": (
        "PNG, percent; 255: in none",
        "of each place the smallest region's area; may be null",
    ),
    **{
        edge: (f"0 to 1 of the image's {side}", f"the source's view, its {edge} edge")
        for edge, side in {"left": "width", "top": "height", "right": "width", "bottom": "height"}.items()
    },
}
_CARD = """\
# {title}

What networks say of images, and of what an attribution method keeps of them, an image a line. Made by harmonia's
`harmonia export` from {count}.

{jobs}

## Read it

```python
from datasets import load_dataset

{first} = load_dataset("FOLDER", "{first}", split="train")
```

Any reader of Parquet will do as well. `harmonia report run=FOLDER` makes the tables, intervals and figures again,
without pictures of images.

## Columns

{columns}

## Images and licences

No image is in this data set, and no licence of one is given here: images have their own. `path`, `image_id` and
`digest` tell which they were. Maps are small pictures of what was kept, computed from them.

## Read it with care

- A soft map may keep a prediction by dimming the image a little: compare it with the arm `dim`.
- An area arm says something above random regions of the same area: `area30` with `blobs30`, and with `centre30`.
- Intervals are over images. Networks and images are those listed, no sample of all.
"""


def card(title: str, license: str, jobs: Mapping[str, JobFolder], folder: Path) -> str:
    """README.md of the dataset in the folder, whose tables are there."""
    present = {name: (files, line) for name, (files, line) in TABLES.items() if any(folder.glob(files))}
    head = {
        "pretty_name": f"harmonia: {title}",
        "license": license,
        "task_categories": ["image-classification"],
        "tags": ["harmonia", "attribution", "explainability"],
        "configs": [{"config_name": name, "data_files": files} for name, (files, _) in present.items()],
    }
    text = _CARD.format(
        title=markdown(title),
        count=number_of(len(jobs), "job"),
        jobs=_table(_OF_JOB, [_job(number, *named) for number, named in enumerate(jobs.items())]),
        first=next(iter(present)),
        columns="\n\n".join(_columns(name, folder, *facts) for name, facts in present.items()),
    )
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n{text}"


def _job(number: int, name: str, job: JobFolder) -> list[str]:
    source, method = (str(job.group(group).get("name")) for group in ("source", "method"))
    targets = ", ".join(str(entry.get("name")) for entry in job.targets.values())
    commit = str(job.environment.get("git") or "")[:7]
    images = str(job.summary.get("images") or "")
    return [f"jobs/{number:04}", name, source, method, job.data_name, targets, images, commit, job.started[:10]]


def _columns(name: str, folder: Path, files: str, line: str) -> str:
    schema = pq.read_schema(min(folder.glob(files)))
    described = [[column.name, *DESCRIBED[column.name]] for column in schema]
    return f"`{name}`, a line for {line}:\n\n{_table(['column', 'unit or range', 'meaning'], described)}"


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    cells = [list(heads), ["---"] * len(heads), *([markdown(cell) for cell in line] for line in lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
