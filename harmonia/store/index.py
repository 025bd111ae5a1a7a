"""index.parquet: the facts of all items as one table."""

from pathlib import Path

import pyarrow as pa

from harmonia.errors import InputError
from harmonia.store.files import disk_errors, utf8
from harmonia.store.parquet import reading, write_table
from harmonia.store.shards import Facts

INDEX = "index.parquet"


def write_index(path: Path, facts: list[Facts], shard_size: int, seal: str) -> None:
    """A row an item: facts, shard and position; the seal says what they come from. An equal file is left alone."""
    columns = {}
    for name in dict.fromkeys(name for row in facts for name in row):
        values = (row.get(name) for row in facts)
        try:
            columns[name] = pa.array([utf8(value) if isinstance(value, str) else value for value in values])
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"fact {name} must have one type in all items ({error}); convert it") from error
    columns["shard"] = pa.array(i // shard_size for i in range(len(facts)))
    columns["position"] = pa.array(i % shard_size for i in range(len(facts)))
    table = pa.table(columns).replace_schema_metadata({"harmonia.seal": seal})
    if not _holds(path, table):
        with disk_errors(path):
            write_table(path, table, compression="snappy")


def _holds(path: Path, table: pa.Table) -> bool:
    try:
        with reading(path) as file:
            stored = file.read()
            # as text NaN is NaN
            same = str(stored.to_pydict()) == str(table.to_pydict())
            return same and stored.schema.equals(table.schema, check_metadata=True)
    except InputError:
        return False
