"""index.parquet: the facts of all items as one table."""

from pathlib import Path
from typing import TYPE_CHECKING

from harmonia.store.shards import Facts

if TYPE_CHECKING:
    import pyarrow as pa

INDEX = "index.parquet"


def index_table(facts: list[Facts], shard_size: int, seal: str) -> "pa.Table":
    """The table; seal, what it was made from, goes with it."""
    import pyarrow as pa  # here: slow to import, and most processes make no index

    columns = {}
    for name in dict.fromkeys(name for row in facts for name in row):
        values = [row.get(name) for row in facts]
        try:
            columns[name] = pa.array(values)
        except UnicodeEncodeError:  # file names that are not UTF-8
            columns[name] = pa.array(
                [v.encode(errors="backslashreplace").decode() if isinstance(v, str) else v for v in values]
            )
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise ValueError(f"fact {name} must have one type in all items ({error}); convert it") from error
    columns["shard"] = pa.array(i // shard_size for i in range(len(facts)))
    columns["position"] = pa.array(i % shard_size for i in range(len(facts)))
    return pa.table(columns).replace_schema_metadata({"harmonia.seal": seal})


def encode_index(table: "pa.Table") -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def is_index(path: Path, table: "pa.Table") -> bool:
    """Whether the file is there, undamaged, and holds this table; NaN is NaN."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            stored = file.read()
        # as text NaN is NaN
        same = str(stored.to_pydict()) == str(table.to_pydict())
        return same and stored.schema.equals(table.schema, check_metadata=True)
    # damage may show as anything: a value, a length, a code of compression
    except (OSError, ValueError, KeyError, IndexError, pa.ArrowException):
        return False
