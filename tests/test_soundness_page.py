"""docs/soundness.md has the tables that follow from its rows."""

from runpy import run_path

from paths import REPOSITORY

FOLDER = REPOSITORY / "docs" / "soundness"


def test_the_tables_of_presets_follow_from_the_rows(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")  # presets.py imports its neighbour
    tables = run_path(str(REPOSITORY / "benchmarks" / "presets.py"))["tables"](FOLDER)
    page = FOLDER.with_suffix(".md").read_text("utf-8")
    assert len(tables) == 2
    for name, lines in tables.items():
        assert (FOLDER / name).read_text("utf-8").splitlines() == lines
        assert "\n".join(lines) in page
