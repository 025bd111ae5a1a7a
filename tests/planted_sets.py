"""Sets of maps that stand for what methods compute, and processes that work on them."""

import hashlib
import inspect
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
from paths import REPOSITORY

from harmonia.store.sets import ShardSet

IDENTITY = {"source": "vit", "method": {"name": "ig", "steps": 8}, "weights": "ab12"}
COUNT, SHARD_SIZE, NUM_SHARDS = 10, 3, 4


def items_of(stored, shard):
    items = np.array(stored.shard_items(shard))
    maps = items[:, None, None] * np.ones((1, 2, 3), np.float16)
    facts = [{"image_id": f"n{i:04d}", "p_source": i / 7, "flag": ""} for i in items.tolist()]
    return {"maps": maps, "scale": items.astype(np.float32)}, facts


PRELUDE = f"""
import os, signal, sys, time
from pathlib import Path
import numpy as np
from harmonia.store.sets import ShardSet
root = Path(sys.argv[1])
{inspect.getsource(items_of)}
def open_set():
    return ShardSet.open(root, "maps", "vit-ig", {IDENTITY!r}, {COUNT}, {SHARD_SIZE})
"""


def child(script: str, *arguments: object, **options) -> subprocess.Popen:
    code = PRELUDE + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    return out


def open_set(root: Path, **changes) -> ShardSet:
    given = dict(kind="maps", name="vit-ig", identity=IDENTITY, count=COUNT, shard_size=SHARD_SIZE)
    return ShardSet.open(root, **(given | changes))


def fill(stored: ShardSet) -> list[int]:
    computed = []
    for shard in stored.claims():
        stored.write(shard, *items_of(stored, shard))
        computed.append(shard)
    return computed


def reseal(folder: Path, without: str | None = None, **changes: object) -> None:
    """Changes the set's manifest as somebody would who knows how it is sealed."""
    path = folder / "manifest.json"
    content = {**json.loads(path.read_text()), **changes}
    content = {name: value for name, value in content.items() if name not in ("digest", without)}
    seal = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**content, "digest": seal}))


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


def one_line(error: object) -> bool:
    return "\n" not in str(error)
