"""Are the numbers of two versions the same, bit for bit? Each version has run the same jobs into a folder of its own.

    python benchmarks/same_numbers.py OLD NEW [--ignore FILE/COLUMN ...]

Pairs files by their path and compares every column, rows in their order; NaN equals NaN of the same bits.
Seconds, images decoded and counts of what was cached may differ. Exits 1 on any difference, or with nothing to compare.
"""

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

REQUIRED = ("rows.parquet", "scores.parquet", "localisation.parquet", "summary.json")
COMPARED_IF_BOTH = ("mosaics.json", "aggatt.safetensors", "representations.parquet", "maps.parquet")
OF_THE_WORK = re.compile(r"seconds|images_decoded|.*_(computed|cached)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--ignore", nargs="*", default=[], metavar="FILE/COLUMN", help="columns that may differ")
    options = parser.parse_args()
    counts, differences = compare(options.old, options.new, set(options.ignore))
    for line in (*differences, *(f"{number:10,} {name}" for name, number in sorted(counts.items()))):
        print(line)
    print("DIFFERENT" if differences else "the same, bit for bit" if counts else "NOTHING TO COMPARE")
    sys.exit(bool(differences) or not counts)


def compare(old: Path, new: Path, ignored: set[str]) -> tuple[Counter[str], list[str]]:
    """What was compared, and a line for each difference."""
    counts: Counter[str] = Counter()
    differences: list[str] = []
    names = (*REQUIRED, *COMPARED_IF_BOTH)
    for path in sorted({path.relative_to(root) for root in (old, new) for name in names for path in root.rglob(name)}):
        absent = [version for version, root in (("old", old), ("new", new)) if not (root / path).is_file()]
        if absent:
            differences += [f"{path}: missing in the {absent[0]} folder"] if path.name in REQUIRED else []
            continue
        before, after = _values_of(old / path), _values_of(new / path)
        counts[f"files {path.name}"] += 1
        if path.suffix == ".parquet":
            counts["rows"] += max(map(len, before.values()), default=0)
            counts["columns"] += len(before)
        for key in (key for key in before | after if f"{path.name}/{key}" not in ignored):
            if key not in after:
                differences.append(f"{path}: only the old file has {key}")
            elif key not in before:
                counts[f"only in the new {path.name}: {key}"] += 1
            elif what := _difference(before[key], after[key]):
                differences.append(f"{path}: {key}: {what}")
    return counts, differences


def _values_of(path: Path) -> dict[str, Any]:
    """Columns by name, numbers of the summary by name, of any other file its hash."""
    if path.suffix == ".json":
        return {key: value for key, value in json.loads(path.read_text()).items() if not OF_THE_WORK.fullmatch(key)}
    if path.suffix != ".parquet":
        return {"bytes": hashlib.sha256(path.read_bytes()).hexdigest()}
    with pq.ParquetFile(path) as file:  # read_table would take a folder called source=e7 for a column
        table = file.read()
    return {name: _bits(table[name].combine_chunks()) for name in table.column_names}


def _bits(column: pa.Array) -> pa.Array:
    """The column with floats as the integers of the same bits, and repeated text written out."""
    if isinstance(column, pa.DictionaryArray):
        return column.dictionary_decode()
    if isinstance(column, pa.FixedSizeListArray):
        return pa.FixedSizeListArray.from_arrays(_bits(column.flatten()), column.type.list_size)
    return column.view(f"uint{column.type.bit_width}") if pa.types.is_floating(column.type) else column


def _difference(before: Any, after: Any) -> str | None:
    if not isinstance(before, pa.Array):
        return None if json.dumps(before) == json.dumps(after) else f"{before} became {after}"
    if before.type != after.type or len(before) != len(after):
        return f"{len(before)} rows of {before.type} became {len(after)} of {after.type}"
    if before.equals(after):
        return None
    pairs = zip(before.to_pylist(), after.to_pylist(), strict=True)
    rows = [row for row, (was, now) in enumerate(pairs) if was != now]
    return f"{len(rows)} of {len(before)} rows differ, the first is row {rows[0]}"


if __name__ == "__main__":
    main()
