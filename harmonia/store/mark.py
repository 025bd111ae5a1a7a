"""A store's mark: prune touches no folder without it, and tools for backups leave out what has it.

https://bford.info/cachedir/
"""

import os
import re
from pathlib import Path

from harmonia.store.files import disk_errors, write_stored

TAG = "CACHEDIR.TAG"
SIGNATURE, OWNER = "Signature: 8a477f597d28d172789f06886806bc55", "# harmonia map store"
SET_FOLDER = re.compile(r".+-[0-9a-f]{16}")
_DATASETS = "datasets"  # what conf/data downloads, beside the sets


def is_marked(root: Path) -> bool:
    """Whether the folder has the mark of a store; another program's is none."""
    tag = root / TAG
    with disk_errors(tag):
        if tag.is_symlink() or not tag.is_file():
            return False
        with tag.open("rb") as file:
            first, *rest = file.read(512).decode(errors="replace").splitlines() or [""]
    return first == SIGNATURE and OWNER in rest


def mark(root: Path) -> None:
    """Mark a store that is new or holds nothing but sets and datasets; one among other things stays unmarked."""
    with disk_errors(root):
        if not os.path.lexists(root / TAG) and all(
            entry.is_dir(follow_symlinks=False)
            and (entry.name == _DATASETS or all(map(SET_FOLDER.fullmatch, os.listdir(entry))))
            for entry in os.scandir(root)
        ):
            write_stored(root / TAG, f"{SIGNATURE}\n{OWNER}\n".encode())
