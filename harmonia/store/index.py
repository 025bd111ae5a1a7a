"""index.parquet: the facts of all items as one table."""

from pathlib import Path

from harmonia.store.shards import Facts

INDEX = "index.parquet"


def encode_index(facts: list[Facts], shard_size: int, seal: str) -> bytes:
    import pyarrow as pa  # here: slow to import, and most processes write no index
    import pyarrow.parquet as pq

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
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns).replace_schema_metadata({"harmonia.seal": seal}), sink)
    return sink.getvalue().to_pybytes()


def sealed_with(path: Path) -> str | None:
    """What the index was made from; None if it is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return (pq.read_schema(path).metadata or {}).get(b"harmonia.seal", b"").decode()
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return None
