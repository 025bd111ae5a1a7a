"""representations.parquet: what the last layer of a job's targets sees of each image, to tell how alike models are.

One column of image ids, one for each model, `representation/<name>`, a list of float16 an image. A model's
values are divided by one number, the largest magnitude, so that they fit: measures of likeness are blind to it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from harmonia.results.rows import REPRESENTATIONS
from harmonia.store.files import utf8
from harmonia.store.guarded import is_there
from harmonia.store.parquet import reading, texts, write_table

_COLUMN = "representation/"


def write_representations(
    job_folder: str | Path, image_ids: Sequence[str], representations: Mapping[str, np.ndarray]
) -> None:
    """The file, whole or not at all; representations are (N, D) by model name, rows in the order of the ids."""
    columns: dict[str, pa.Array] = {"image_id": texts(image_ids)}
    for name, values in representations.items():
        scale = np.abs(values).max(initial=0) or 1
        flat = pa.array((values / scale).astype(np.float16).ravel())
        columns[_COLUMN + utf8(name)] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    write_table(Path(job_folder) / REPRESENTATIONS, pa.table(columns), use_dictionary=False)


def read_representations(job_folder: str | Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Image ids, and by model name float32 (N, D) up to a factor; nothing where the job left none."""
    if not is_there(Path(job_folder), REPRESENTATIONS):
        return [], {}
    representations = {}
    with reading(Path(job_folder) / REPRESENTATIONS) as file:
        table = file.read()
        image_ids = table["image_id"].to_pylist()
        if None in image_ids or len(set(image_ids)) < len(image_ids):
            raise ValueError("images without a name of their own")
        for name in table.column_names:
            if name.startswith(_COLUMN):
                column = table[name].combine_chunks()
                values = column.flatten().to_numpy().reshape(len(image_ids), column.type.list_size)
                representations[name.removeprefix(_COLUMN)] = values.astype(np.float32)
    return image_ids, representations
