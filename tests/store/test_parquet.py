"""Laws of Parquet files that somebody may have sent: read as they are stored, or refused before they fill memory."""

import io
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from paths import REPOSITORY

from harmonia.errors import InputError
from harmonia.results.representations import read_representations, write_representations
from harmonia.results.rows import REPRESENTATIONS
from harmonia.store import parquet
from harmonia.store.footer import stated_values
from harmonia.store.parquet import reading

TABLE = pa.table(
    {
        "name": pa.array(["a", None, "a", "ü", ""]).dictionary_encode(),
        "text": ["x", "x", None, "", "y" * 300],
        "large": pa.array(list("abcab"), pa.large_string()),
        "bytes": pa.array([b"\0", b"\xff", None, b"", b"\0"]),
        "texts": [["x", "y"], None, [], ["x"], [None]],
        "number": [1.0, float("nan"), None, 4.0, 5.0],
        "whole": pa.array([1, 2, 3, 4, 5], pa.int8()),
        "flag": [True, False, None, True, True],
        "rows": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(10, dtype=np.float16)), 2),
        "nothing": pa.nulls(5),
    }
).replace_schema_metadata({"harmonia": "1"})


def test_a_folder_and_a_network_may_have_names_of_any_bytes(tmp_path):
    folder = tmp_path / "j\udcff"
    folder.mkdir()
    write_representations(folder, ["a\udcff"], {"n\udcff": np.ones((1, 2), np.float32)})
    ids, representations = read_representations(folder)
    assert (ids, list(representations)) == (["a\\udcff"], ["n\\udcff"])


@pytest.mark.parametrize("rows", [5, 2, 0])
def test_a_file_is_read_as_it_is_stored(tmp_path, rows):
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE if rows else TABLE.slice(0, 0), path, row_group_size=rows or None)
    names = ["whole", "text", "name"]
    stored = pq.read_table(path)
    with reading(path) as file:
        assert_equal(file.read(), stored)
        assert_equal(file.read(names), stored.select(names))
        groups = list(range(file.num_row_groups))[:1]
        assert_equal(file.read_row_groups(groups, names), stored.select(names).slice(0, rows))


def test_no_thread_but_our_own_holds_a_file(tmp_path, monkeypatch):
    path, readers = tmp_path / "a.parquet", set()
    pq.write_table(pa.table({f"c{number}": np.random.default_rng(number).random(20_000) for number in range(8)}), path)

    class Watched(io.FileIO):
        def readinto(self, buffer):
            readers.add(threading.get_ident())
            return super().readinto(buffer)

        def read(self, size=-1):
            readers.add(threading.get_ident())
            return super().read(size)

    threads = pa.cpu_count()
    pa.set_cpu_count(4)
    monkeypatch.setattr(parquet, "open", lambda path, mode: Watched(path, mode), raising=False)
    try:
        with reading(path) as file:
            assert len(file.read()) == 20_000
    finally:
        pa.set_cpu_count(threads)
    assert readers == {threading.get_ident()}


def assert_equal(read, stored):
    assert read.schema.equals(stored.schema, check_metadata=True)
    assert str(read.to_pydict()) == str(stored.to_pydict())  # NaN is NaN
    assert read.to_pandas()["name"].cat.categories.tolist() == stored.to_pandas()["name"].cat.categories.tolist()


def one_text(rows):
    """A long one that stands in all rows."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["x" * (1 << 20)])


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"text": one_text(100_000)}),  # 100 GB
        pa.table({"text": one_text(100_000)}, schema=pa.schema([("text", pa.dictionary(pa.int32(), pa.string()))])),
        pa.table({name: pa.nulls(40_000_000) for name in "abcdefgh"}),
    ],
    ids=["a text", "names", "nulls"],
)
def test_a_few_bytes_that_would_fill_the_memory_are_refused(tmp_path, table):
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    assert path.stat().st_size < 4 << 20
    with pytest.raises(InputError, match=rf"^{path} must have at most 1,073,741,824 bytes in memory, got [1-9]"):
        read(path)


@pytest.mark.parametrize("kind", ["numbers", "lists", "lists of texts"])
def test_values_of_every_kind_count(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("harmonia.store.parquet._UNFOLDED_BYTES", 1 << 20)
    columns = {
        "numbers": pa.array(np.zeros(1_000_000)),
        "lists": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(1_000_000, np.int32)), 1000),
        "lists of texts": pa.array([["x" * 100_000] * 20] * 10),
    }
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": columns[kind]}), path, compression="zstd")
    with pytest.raises(InputError, match="bytes in memory, got"):
        read(path)


def read(path):
    with reading(path) as file:
        file.read()


@pytest.mark.parametrize("rows", [5, 2, 0])
def test_the_footer_states_what_arrow_reads_in_it(tmp_path, rows):
    pq.write_table(TABLE if rows else TABLE.slice(0, 0), path := tmp_path / "a.parquet", row_group_size=rows or None)
    facts = pq.read_metadata(path)
    groups = [facts.row_group(number) for number in range(facts.num_row_groups)]
    columns = range(facts.num_columns)
    assert stated_values(path) == [[group.column(number).num_values for number in columns] for group in groups]


@pytest.mark.slow
def test_no_bit_of_a_footer_ends_the_process(tmp_path):
    """In a process of its own, which Arrow ended where a list column's histograms were hit."""
    write_representations(tmp_path, ["a", "b"], {"n": np.ones((2, 3), np.float32)})
    script = """
    good = path.read_bytes()
    length = int.from_bytes(good[-8:-4], "little")
    lines = 0
    for place in range(len(good) - 8 - length, len(good) - 4):
        for bit in (1, 16):
            path.write_bytes(good[:place] + bytes([good[place] ^ bit]) + good[place + 1 :])
            try:
                read_representations(path.parent)
            except InputError:
                lines += 1
    print(lines)
    """
    head = "from pathlib import Path\nfrom harmonia.errors import InputError\n"
    head += "from harmonia.results.representations import read_representations\n"
    head += f"path = Path({str(tmp_path / REPRESENTATIONS)!r})\n"
    code = head + textwrap.dedent(script)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 100
