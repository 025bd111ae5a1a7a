"""A folder of jobs that somebody sent: a bad one is left out by name with one reason, and the rest stands."""

import json
import os
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from paths import REPOSITORY
from planted_jobs import config, plant_scores, plant_transfer
from rows_in_memory import read_rows

from harmonia.errors import InputError
from harmonia.report.sections.transfer import TransferSection
from harmonia.report.write import write_report
from harmonia.results.jobs import find_jobs
from harmonia.results.localisation import read_aggatt, write_aggatt, write_localisation
from harmonia.results.maps import SmallMaps, read_small_maps, write_small_maps
from harmonia.results.rows import write_summary
from harmonia.store.guarded import SHOWN_BYTES, read_first_line, read_yaml

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def text(name, content):
    def write(folder):
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def pipe(name):
    def write(folder):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return write


def link(name, target):
    def write(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return write


def large(name, size):
    def write(folder):
        with (folder / name).open("r+b" if (folder / name).exists() else "wb") as file:
            file.truncate(size)  # takes no disk

    return write


def outside(folder):
    shutil.move(folder / "summary.json", folder.parent / "kept.json")
    (folder / "summary.json").symlink_to(folder.parent / "kept.json")


def rows(file="rows.parquet", **changes):
    """The job's rows with other columns."""

    def write(folder):
        table = pq.read_table(folder / file)
        for name, values in changes.items():
            column = pa.array([values] * len(table)) if not isinstance(values, pa.Array) else values
            table = table.set_column(table.column_names.index(name), name, column)
        pq.write_table(table, folder / file)

    return write


def broken_text(folder):
    table = pq.read_table(folder / "rows.parquet")
    bad = pa.array([b"\xff\xfe"] * len(table)).view(pa.string())
    pq.write_table(table.set_column(table.column_names.index("path"), "path", bad), folder / "rows.parquet")


def many_equal_rows(folder):
    nothing = pa.nulls(60_000_000)
    pq.write_table(pa.table({"image_id": nothing}), folder / "rows.parquet", row_group_size=len(nothing))
    assert (folder / "rows.parquet").stat().st_size < 1 << 20


BAD = {
    "an alias bomb": (text("config.yaml", BOMB), "alias"),
    "an alias of itself": (text("config.yaml", "a: &a [*a]"), "alias"),
    "deep YAML": (text("config.yaml", "[" * 5000), "YAML"),
    "deep YAML in block style": (text("config.yaml", "- " * 5000), "YAML"),
    "YAML that is not UTF-8": (text("config.yaml", b"a: \xff\xfe"), "YAML"),
    "YAML with NUL": (text("config.yaml", b"a: \0"), "YAML"),
    "YAML with code": (text("config.yaml", "a: !!python/object/apply:os.system [true]"), "YAML"),
    "YAML with a date that is none": (text("config.yaml", "a: 2026-99-99"), "YAML"),
    "YAML with a key that is a list": (text("config.yaml", "? [a]\n: b"), "YAML"),
    "YAML with a key that is a date": (text("config.yaml", "a: {x: 1, 2020-01-01: y}"), "keys must be str"),
    "YAML with a number beyond all": (text("config.yaml", "seed: " + ":".join("1" * 200) + ".0"), "YAML"),
    "YAML with a number of hours": (text("config.yaml", "seed: " + ":".join("1" * 500_000)), "1000 colons"),
    "YAML without an end": (large("config.yaml", 1 << 40), "at most 1,048,576 bytes"),
    "a pipe for YAML": (pipe("config.yaml"), "regular file"),
    "zeros for YAML": (link("config.yaml", "/dev/zero"), "regular file"),
    "a link to nothing for YAML": (link("config.yaml", "nowhere"), "No such file"),
    "a link to itself for YAML": (link("config.yaml", "config.yaml"), "must be readable"),
    "deep JSON": (text("summary.json", "[" * 100_000), "JSON"),
    "deep JSON of the environment": (text("environment.json", '{"a":' * 100_000), None),
    "JSON that is not UTF-8": (text("summary.json", b'{"a": "\xff"}'), "JSON"),
    "a number of many digits": (text("summary.json", '{"a": ' + "9" * 5000 + "}"), "JSON"),
    "JSON without an end": (large("summary.json", 1 << 40), "at most 67,108,864 bytes"),
    "a pipe for JSON": (pipe("summary.json"), "no summary.json"),
    "a pipe for the environment": (pipe("environment.json"), "regular file"),
    "zeros for the environment": (link("environment.json", "/dev/zero"), "regular file"),
    "a file out of the job": (outside, "regular file in that folder"),
    "a name too long": (text("environment.json", json.dumps({"files": ["a" * 300]})), "File name too long"),
    "NUL in a name": (text("environment.json", json.dumps({"files": ["rows\0.parquet"]})), "unfinished: no rows"),
    "an error of 200 MB": (large("error.txt", 200_000_000), ""),
    "a pipe for an error": (pipe("error.txt"), "regular file"),
    "zeros for an error": (link("error.txt", "/dev/zero"), "regular file"),
    "an error that is not UTF-8": (text("error.txt", b"\xffbad\xfe"), "bad"),
    "a folder for an error": (lambda folder: (folder / "error.txt").mkdir(), "regular file"),
    "rows without an end": (large("rows.parquet", 1 << 40), "at most 17,179,869,184 bytes"),
    "a pipe for rows": (pipe("rows.parquet"), "no rows"),
    "rows out of the job": (link("rows.parquet", "/etc/passwd"), "regular file"),
    "text in rows that is not UTF-8": (broken_text, "Parquet"),
    "a few bytes that are many rows": (many_equal_rows, "at most 50,000,000 rows"),
    "a probability of infinity": (rows(p_explained=np.float32(np.inf)), "p_explained must lie in 0..1"),
    "rows of no image": (rows(image_id=None), ""),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    right = {"image": [True, True], "area30": [True, False]}
    return plant_transfer(
        tmp_path_factory.mktemp("planted") / "job", "lite0", "gc", right, {a: [0.5, 0.6] for a in right}
    )


MOSAICS = {
    "localised": ({}, None),
    "localised nowhere": ({"localisation": [np.nan] * 4}, "localisation in 0..1"),
    "localised without end": ({"localisation": [np.inf] * 4}, "localisation in 0..1"),
    "localised beyond": ({"localisation": [7.0] * 4}, "localisation in 0..1"),
    "no cells": ({"cells": [0] * 4}, "n x n"),
    "many cells": ({"cells": [10**9] * 4}, "n x n"),
    "no square of cells": ({"cells": [5] * 4}, "n x n"),
    "a cell beyond": ({"cell": [4] * 4}, "cell of their mosaic"),
    "mosaics of no source": ({"source": [None] * 4}, "one source"),
    "mosaics of two sources": ({"source": ["a", "a", "b", "b"]}, "one source"),
    "a cell twice": ({"grid": [0] * 4, "image_id": ["n0"] * 4}, "one per grid, cell, image_id"),
    "mosaics of no protocol": ({"protocol": ["other"] * 4}, "protocol of"),
}
AGGATTS = {
    "mean maps without a side": {"side": 0},
    "mean maps without bins": {"bins": np.full(6, np.nan)},
    "mean maps of infinity": {"means": np.full((6, 8, 8), np.inf, np.float32)},
}
SCORED = {
    "scored": ({}, None),
    "scored sideways": ({"better": "sideways"}, "higher, lower or none"),
    "scored without a better": ({"better": pa.nulls(4, pa.string())}, "higher, lower or none"),
    "scored without end": ({"value": np.inf}, "finite"),
    "an image scored twice": ({"image_id": "n0"}, "one per metric, image_id"),
    "scores of no image": ({"image_id": pa.nulls(4, pa.string())}, "one per metric, image_id"),
    "scores of no source": ({"source": pa.nulls(4, pa.string())}, "one source"),
}


def plant_mosaics(folder, side=8, bins=None, means=None, **changes):
    folder.mkdir()
    names = {"path": "x", "source": "lite0", "method": "gc", "protocol": "gridpg", "layer": "final", "label": "dog"}
    columns = {name: [value] * 4 for name, value in (names | {"predicted": "dog"}).items()}
    columns |= {"grid": [0, 1, 2, 3], "cell": [0] * 4, "cells": [4] * 4, "image_id": ["n0", "n1", "n2", "n3"]}
    columns |= {"p_explained": [0.5] * 4, "in_top": [True] * 4, "undefined": [False] * 4, "mass": [1.0] * 4}
    write_localisation(folder, [columns | {"localisation": [0.1, 0.2, 0.3, 0.4]} | changes])
    arrays = {"examples": np.ones((6, side, side), np.float32), "pictures": np.zeros((6, 3, side, side), np.uint8)}
    arrays["means"] = np.ones((6, side, side), np.float32) if means is None else means
    arrays |= {"bins": np.arange(6) if bins is None else bins, "scores": np.ones(6)}
    write_aggatt(folder, arrays)
    (folder / "config.yaml").write_text(yaml.safe_dump(config("lite0", "gc", folder.name)))
    write_summary(folder, {})


@pytest.mark.slow
def test_bad_rows_of_mosaics_and_scores_are_left_out_by_name_with_figures_on(tmp_path):
    for name, (changes, _) in MOSAICS.items():
        plant_mosaics(tmp_path / name, **changes)
    for name, arrays in AGGATTS.items():
        plant_mosaics(tmp_path / name, **arrays)
    for name, (changes, _) in SCORED.items():
        plant_scores(tmp_path / name, "lite0", "gc", {"deletion": [0.1, 0.2, 0.3, 0.4]})
        rows("scores.parquet", **changes)(tmp_path / name)
    report = write_report(tmp_path, thumbnails=0)
    kinds = MOSAICS | SCORED
    left_out = {name for name, (_, part) in kinds.items() if part}
    assert set(report.unread) == left_out
    assert {job.folder.name for job in report.jobs} == (kinds.keys() | AGGATTS.keys()) - left_out
    for name in left_out:
        assert kinds[name][1] in report.left_out[name], name
        assert "\n" not in report.left_out[name], name
    assert "AggAtt's arrays" in report.left_out["mean maps without a side: AggAtt"]
    assert {"localisation_boxes", "ranking_deletion"} & {figure.stem for figure in report.figures}


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"areas": "1" + "0" * 400}, "areas"),
        ({"areas": "-5"}, "areas"),
        ({"areas": "300"}, "areas"),
        ({"shape": "4"}, "two sides"),
        ({"shape": "2 2 1"}, "two sides"),
    ],
)
def test_small_maps_have_two_sides_and_areas_that_are_percent(tmp_path, facts, word):
    nothing = np.zeros((1, 2, 2), np.uint8), np.zeros((1, 112, 112), np.uint8)
    write_small_maps(tmp_path, SmallMaps(["n0"], *nothing, (30,), np.array([[0, 0, 1, 1]], np.float32), ["0" * 64]))
    assert read_small_maps(tmp_path).areas == (30,)
    table = pq.read_table(tmp_path / "maps.parquet")
    metadata = table.schema.metadata | {name.encode(): value.encode() for name, value in facts.items()}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "maps.parquet")
    with pytest.raises(InputError, match=word):
        read_small_maps(tmp_path)


def test_a_job_that_its_section_cannot_be_made_of_is_left_out_alone(planted, tmp_path, monkeypatch):
    class Odd(TransferSection):
        def gather(self):
            if any(job.name == "bad" for job in self.jobs):
                raise ZeroDivisionError("of\nno meaning")
            super().gather()

        def make_figures(self):
            raise KeyError("drawn")

    for name in ("bad", "good"):
        shutil.copytree(planted, tmp_path / name)
    monkeypatch.setattr("harmonia.report.write.find_sections", lambda modules: [Odd])
    monkeypatch.setattr("harmonia.report.page.write.data_files", lambda images, *given: 1 / 0 if images.sets else ())
    report = write_report(tmp_path, arm="area30", thumbnails=0)
    assert [job.folder.name for job in report.jobs] == ["good"]
    assert report.left_out == {
        "bad": "unreadable: ZeroDivisionError: of no meaning; run the job again",
        "images to browse": "unreadable: ZeroDivisionError: division by zero; run the job again",
        "Attribution transfer: other figures": "unreadable: KeyError: 'drawn'; run the job again",
    }
    assert "Left out (3)" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(planted, tmp_path_factory):
    """A folder with every bad job beside a good one."""
    run = tmp_path_factory.mktemp("run")
    shutil.copytree(planted, run / "good")
    for number, (spoil, _) in enumerate(BAD.values()):
        shutil.copytree(planted, run / str(number))
        spoil(run / str(number))
    return run


@pytest.mark.slow
def test_every_bad_job_is_left_out_by_name_with_one_reason_and_the_rest_stands(run, monkeypatch):
    monkeypatch.setattr(TransferSection, "make_figures", lambda section: iter(()))  # they take seconds
    report = write_report(run, arm="area30", thumbnails=0)
    whole = {number for number, (_, part) in enumerate(BAD.values()) if part is None}
    assert {job.folder.name for job in report.jobs} == {"good", *map(str, whole)}
    for number, (kind, (_, part)) in enumerate(BAD.items()):
        if number not in whole:
            reason = report.left_out[str(number)]
            assert part in reason, kind
            assert reason, kind
            assert "\n" not in reason, kind
            assert len(reason) < 5 * SHOWN_BYTES, kind  # four letters for a byte that is not seen
    assert "No such file" in report.left_out[str(list(BAD).index("a link to nothing for YAML"))]
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert f"Left out ({len(report.left_out)})" in page


def test_a_long_error_is_shown_by_its_beginning_and_its_end(tmp_path):
    (tmp_path / "error.txt").write_text("ValueError: " + "x" * 200_000 + " at last")
    line = read_first_line(tmp_path, "error.txt")
    assert line.startswith("ValueError: x")
    assert line.endswith("x at last")
    assert len(line) < SHOWN_BYTES + 10
    (tmp_path / "error.txt").write_text("ValueError: short\n\n" + "Traceback\n" * 1_000_000)
    assert read_first_line(tmp_path, "error.txt") == "ValueError: short"


def test_links_inside_a_job_are_followed(planted, tmp_path):
    shutil.copytree(planted, tmp_path / "job")
    (tmp_path / "job" / "rows.parquet").rename(tmp_path / "job" / "kept")
    (tmp_path / "job" / "rows.parquet").symlink_to("kept")
    assert len(read_rows(tmp_path / "job")) == len(read_rows(planted))
    (tmp_path / "way").symlink_to("job")
    assert [job.finished for job in find_jobs(tmp_path / "way")] == [True]


def test_plain_yaml_is_read_as_ever(tmp_path):
    content = "a: {b: [1, 2.5, null, true, text, 'ü'], c: ''}\nd: 1e-3\n2: x\n"
    (tmp_path / "config.yaml").write_text(content)
    want = {"a": {"b": [1, 2.5, None, True, "text", "ü"], "c": ""}, "d": "1e-3", 2: "x"}
    assert read_yaml(tmp_path, "config.yaml") == want
    (tmp_path / "config.yaml").write_text("[1]")
    assert read_yaml(tmp_path, "config.yaml") == {}


@pytest.mark.parametrize("write", [pipe("aggatt.safetensors"), link("aggatt.safetensors", "/dev/zero")])
def test_mean_maps_are_read_from_a_regular_file_alone(tmp_path, write):
    write(tmp_path)
    with pytest.raises(InputError, match="regular file"):
        read_aggatt(tmp_path)


def test_nothing_else_in_results_and_report_opens_a_file():
    opens = re.compile(r"\bopen\(|\.read_(text|bytes)\(|yaml\.|json\.load\(|ParquetFile\(|\bread_table\(|load_file\(")
    allowed = {
        REPOSITORY / "harmonia/store/guarded.py": "the guarded reader",
        REPOSITORY / "harmonia/store/parquet.py": "ParquetFile of a regular_file",
        REPOSITORY / "harmonia/report/page/collection.py": "images, by SeenFile",
        REPOSITORY / "harmonia/report/page/write.py": "the same",
        REPOSITORY / "harmonia/report/figures/examples.py": "the same",
    }
    for room in ("results", "report", "statistics"):
        for path in (REPOSITORY / "harmonia" / room).rglob("*.py"):
            lines = [line for line in path.read_text(encoding="utf-8").splitlines() if opens.search(line)]
            assert not lines or path in allowed, (path, lines)
    for path, what in allowed.items():
        assert path.is_file()
        if "regular_file" in what:
            assert "regular_file(" in path.read_text(encoding="utf-8")
