"""The files in a report's folder that are its own: a record of their names, by which a later report removes them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harmonia.errors import InputError
from harmonia.report.page.write import PAGE
from harmonia.store.files import write_text

RECORD = "files.json"  # beside the pages' data
TABLES, DATA, FIGURES, PAGES = "tables", "data", "figures", "pages"
KIND_SUFFIXES = {TABLES: ("md", "csv", "tex"), DATA: ("csv",), FIGURES: ("png", "pdf"), PAGES: ("html",)}


class OwnFiles:
    """Stems of files by kind: an earlier report's, until remove_all. Pages that every report has are not among them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.stems: dict[str, list[str]] = {kind: [] for kind in KIND_SUFFIXES}
        try:
            recorded: Any = json.loads((folder / PAGE / RECORD).read_text(encoding="utf-8"))
            for kind, stems in self.stems.items():
                # a name that leads out of the folder is none of ours
                stems += [stem for stem in recorded[kind] if isinstance(stem, str) and Path(stem).name == stem]
        except (OSError, ValueError, LookupError, TypeError):
            pass  # no report, or one of a version that kept no record: nothing is known to be its own

    def claim(self, kind: str, stem: str) -> str:
        """The stem, recorded before there is a file of it: what a killed report leaves is known, too."""
        names = {f"{stem}.{suffix}" for suffix in KIND_SUFFIXES[kind]}
        if repeated := names & set(self._names()):
            raise InputError(
                f"sections: a file must be written by one section, got {min(repeated)!r} twice; rename one"
            )
        self.stems[kind].append(stem)
        (self.folder / PAGE).mkdir(exist_ok=True)
        write_text(self.folder / PAGE / RECORD, json.dumps(self.stems, indent=1) + "\n")
        return stem

    def remove_all(self) -> None:
        """The earlier report's files go; other people's stay."""
        for name in self._names():
            path = self.folder / name
            if path.is_file() or path.is_symlink():
                path.unlink()
        self.stems = {kind: [] for kind in KIND_SUFFIXES}

    def _names(self) -> Iterator[str]:
        for kind, suffixes in KIND_SUFFIXES.items():
            for stem in self.stems[kind]:
                yield from (f"{stem}.{suffix}" for suffix in suffixes)
