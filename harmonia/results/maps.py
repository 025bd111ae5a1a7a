"""maps.parquet in a job's folder: its maps small and in bytes, for whoever looks at them.

The store keeps maps exact, for computing. It may be pruned or lie on another machine, and reading it the
way the job did takes the job's models; a report needs neither this way.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from harmonia.errors import InputError
from harmonia.results.parquet import reading, write_table
from harmonia.store.files import utf8

MAPS = "maps.parquet"
SIDE = 32  # cells a side at most; Grad-CAM has 7 to 19, Soundness Saliency 14

_COLUMNS = ["image_id", "soft", "ranked", "left", "top", "right", "bottom"]


@dataclass(frozen=True)
class SmallMaps:
    """Maps over what their source sees of each image."""

    image_ids: list[str]
    soft: np.ndarray  # n h w uint8: the soft arm's keep weights, 255 keeps
    ranked: np.ndarray  # n h w uint8: the raw map from its lowest to its highest value, what equal areas rank
    boxes: np.ndarray  # n 4 float32: left, top, right, bottom in relative image coordinates


def write_small_maps(job_folder: str | Path, maps: SmallMaps) -> None:
    """The job's maps.parquet, whole or not at all."""
    height, width = maps.soft.shape[1:]
    cells = pa.binary(height * width)
    columns = [
        pa.array([utf8(image_id) for image_id in maps.image_ids], pa.string()),
        *(pa.array([one.tobytes() for one in stack], cells) for stack in (maps.soft, maps.ranked)),
        *(pa.array(edges, pa.float32()) for edges in maps.boxes.T),
    ]
    table = pa.table(columns, names=_COLUMNS).replace_schema_metadata({"shape": f"{height} {width}"})
    write_table(Path(job_folder) / MAPS, table)


def read_small_maps(job_folder: str | Path) -> SmallMaps:
    """What write_small_maps wrote."""
    path = Path(job_folder) / MAPS
    if not path.is_file():
        raise InputError(f"{path} must be there for maps to be shown; run the job again, its maps are in the store")
    with reading(path) as file:
        table = file.read(columns=_COLUMNS)
        height, width = (int(number) for number in (table.schema.metadata or {})[b"shape"].split())
        soft, ranked = (
            np.frombuffer(b"".join(table[name].to_pylist()), np.uint8).reshape(-1, height, width)
            for name in ("soft", "ranked")
        )
        boxes = np.stack([table[name].to_numpy() for name in _COLUMNS[3:]], axis=1)
        return SmallMaps(table["image_id"].to_pylist(), soft, ranked, boxes)
