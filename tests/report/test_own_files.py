"""Laws of a report's record of its own files: what it removes is what it wrote, in its own folder."""

import json

import pytest

from harmonia.errors import InputError
from harmonia.report.own_files import DATA, FIGURES, PAGES, TABLES, OwnFiles


def record_of(folder):
    return folder / "page" / "files.json"


def test_files_are_known_to_a_later_report_even_if_the_first_was_killed(tmp_path):
    files = OwnFiles(tmp_path)
    files.claim(TABLES, "table1")
    files.claim(FIGURES, "fig1")  # killed before it drew it
    assert OwnFiles(tmp_path).stems == {TABLES: ["table1"], DATA: [], FIGURES: ["fig1"], PAGES: []}


def test_its_files_go_and_no_other(tmp_path):
    files = OwnFiles(tmp_path)
    own = [f"{files.claim(kind, 'own')}.{suffix}" for kind, suffix in ((TABLES, "tex"), (FIGURES, "pdf"))]
    others = ["own.txt", "own_2.pdf", "other.tex"]
    for name in (*own, *others):
        (tmp_path / name).touch()
    OwnFiles(tmp_path).remove_all()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "page"])


def test_a_record_leads_out_of_no_folder_and_a_link_is_not_followed(tmp_path):
    report = tmp_path / "report"
    record_of(report).parent.mkdir(parents=True)
    for name in ("thesis.csv", "linked.csv"):
        (tmp_path / name).write_text("mine")
    (report / "link.csv").symlink_to(tmp_path / "linked.csv")
    stems = ["../thesis", str(tmp_path / "thesis"), "link", "..", 7]
    record_of(report).write_text(json.dumps({TABLES: [], DATA: stems, FIGURES: [], PAGES: []}))
    OwnFiles(report).remove_all()
    assert (tmp_path / "thesis.csv").read_text() == (tmp_path / "linked.csv").read_text() == "mine"
    assert not (report / "link.csv").is_symlink()


@pytest.mark.parametrize("text", ["{", "[]", '{"tables": 3}', "null"])
def test_a_damaged_record_knows_no_file_and_stops_no_report(tmp_path, text):
    record_of(tmp_path).parent.mkdir()
    record_of(tmp_path).write_text(text)
    (tmp_path / "table1.csv").touch()
    OwnFiles(tmp_path).remove_all()
    assert (tmp_path / "table1.csv").exists()


def test_two_sections_that_write_one_file_are_refused(tmp_path):
    files = OwnFiles(tmp_path)
    files.claim(TABLES, "ranking")
    files.claim(FIGURES, "ranking")
    with pytest.raises(InputError, match=r"ranking\.csv' twice"):
        files.claim(DATA, "ranking")
