"""Laws of the folder of a report or an export: a new one takes the earlier's place whole or not, and no more goes."""

import json
import os
import subprocess
import sys
import threading
from contextlib import nullcontext
from itertools import count

import pytest

from harmonia.errors import InputError
from harmonia.store import whole as module
from harmonia.store.whole import EXPORT, REPORT

MARK, in_place_of, own_names, report_lock = REPORT.mark, REPORT.in_place_of, REPORT.own_names, REPORT.lock


def write(place, text, *names):
    """A report of index.html, a page's data and more files, each of this text."""
    with in_place_of(place) as new:
        for name in ("index.html", "page/data/0.js", *names):
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_text(text)


def contents(folder):
    """Texts of files, and where links lead."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in folder.rglob("*")
        if (path.is_file() or path.is_symlink()) and path.suffix != ".lock" and path.name != MARK
    }


def whole(text, *names):
    return dict.fromkeys(("index.html", "page/data/0.js", *names), text)


@pytest.fixture
def report(tmp_path):
    """A first report's folder, alone in a folder."""
    write(tmp_path / "run" / "report", "old", "fig1.png")
    return tmp_path / "run" / "report"


def only_the_report(folder):
    return {path.name for path in folder.parent.iterdir()} == {folder.name, f".{folder.name}.lock"}


def test_a_new_report_takes_the_place_of_the_whole_earlier_one(report):
    write(report, "new", "table1.md")
    assert contents(report) == whole("new", "table1.md")
    assert own_names(report) == {MARK, "index.html", "table1.md", "page", "page/data", "page/data/0.js"}
    assert only_the_report(report)


def test_what_others_put_there_moves_on_whatever_it_is(report, tmp_path):
    (tmp_path / "thesis").mkdir()
    for name in ("note.txt", "page/data/note.txt", "wandb/offline-run/files/config.yaml", "gone/deep.txt"):
        (report / name).parent.mkdir(parents=True, exist_ok=True)
        (report / name).write_text("mine")
    (report / "link").symlink_to(tmp_path / "thesis")
    before = {name: text for name, text in contents(report).items() if text != "old"}
    assert len(before) == 5
    for text in ("new", "newer"):
        write(report, text)
        assert contents(report) == whole(text) | before
    assert only_the_report(report)


def killed(moment, work):
    """Whether work was killed as by kill -9 before its n-th change of the disk; False if it had ended before."""
    child = os.fork()
    if child == 0:
        moments = count()

        def kill(event, arguments):
            if event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir") and next(moments) == moment:
                os._exit(9)

        sys.addaudithook(kill)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_one_report_whole_and_the_next_ends_what_it_began(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # the machine goes on
    note = {"note.txt": "mine"}
    for moment in count():
        folder = tmp_path / str(moment) / "report"
        write(folder, "old", "fig1.png")
        (folder / "note.txt").write_text("mine")
        ended = not killed(moment, lambda folder=folder: write(folder, "new"))
        left = [folder] if folder.exists() else [folder.with_name(".report.old"), folder.with_name(".report.new")]
        texts = [{name: text for name, text in contents(path).items() if name not in note} for path in left]
        assert texts in ([whole("old", "fig1.png")], [whole("new")], [whole("old", "fig1.png"), whole("new")])
        write(folder, "newer")
        assert contents(folder) == whole("newer") | note
        assert only_the_report(folder)
        if ended:
            break
    assert moment > 12


@pytest.mark.parametrize("name", ["index.html", "page/data/photo.txt", "table1.md", MARK])
def test_a_folder_that_is_no_reports_is_refused_and_left_as_it_is(tmp_path, name):
    folder = tmp_path / "thesis"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("mine")
    with pytest.raises(
        InputError, match=r"out must be a new folder, an empty one or that of an earlier report, got .*thesis"
    ):
        write(folder, "new")
    assert (folder / name).read_text() == "mine"
    assert len(contents(tmp_path)) == (name != MARK)


@pytest.mark.parametrize("mark", ["", "{", "[]", '{"names": 3}', '{"names": [3]}', "[" * 10**5, None])
def test_a_damaged_mark_is_none(report, mark):
    (report / MARK).unlink()
    os.mkfifo(report / MARK) if mark is None else (report / MARK).write_text(mark)
    with pytest.raises(InputError, match="name another"):
        write(report, "new")
    assert contents(report) == whole("old", "fig1.png")


@pytest.mark.parametrize(
    "name", ["index.html", "page", "page/data", "page/data/0.js", ".", ".report.old", ".report.new"]
)
def test_a_link_is_refused_and_nothing_behind_it_changes(report, tmp_path, name):
    place, behind = (report / name if not name.startswith(".r") else report.with_name(name)), tmp_path / "behind"
    if place.exists():
        os.rename(place, behind)
    else:
        write(behind, "mine")
    place.symlink_to(behind)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"move it away|got a link"):
        write(report, "new")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "name", [f"my{MARK}-notes/thesis.tex", f"my{MARK}-notes", f"..{MARK}.tmp", f"{MARK}/thesis.tex"]
)
def test_what_only_resembles_a_mark_is_none(report, name):
    place = report.with_name(".report.new") / name
    place.parent.mkdir(parents=True)
    place.write_text("mine")
    with pytest.raises(InputError, match="must be what a killed report has left"):
        write(report, "new")
    assert place.read_text() == "mine"


def test_what_others_put_into_a_new_report_before_a_kill_moves_on(report):
    write(report.with_name("whole"), "half")
    os.rename(report.with_name("whole"), report.with_name(".report.new"))
    (report.with_name(".report.new") / "note.txt").write_text("mine")
    write(report, "new")
    assert contents(report) == whole("new") | {"note.txt": "mine"}


def test_a_half_written_report_deeper_than_a_call_for_every_level_is_named_and_stays(report):
    write(report.with_name("whole"), "half")
    os.rename(report.with_name("whole"), report.with_name(".report.new"))
    (report.with_name(".report.new") / MARK).write_text('{"names": []}')
    place = os.getcwd()
    os.chdir(report.with_name(".report.new"))
    for _ in range(1100):
        os.mkdir("a")
        os.chdir("a")
    os.chdir(place)
    with pytest.raises(InputError, match=r"must be readable, got more than 50 folders inside one another; move it"):
        write(report, "new")
    assert contents(report) == whole("old", "fig1.png")
    subprocess.run(["rm", "-r", report.with_name(".report.new")], check=True)  # which pytest could not


def test_beside_what_is_refused_no_lock_stays(tmp_path):
    (tmp_path / "picture.png").write_text("mine")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.tex").write_text("mine")
    before = contents(tmp_path)
    for name in ("picture.png", "notes"):
        with pytest.raises(InputError, match="out must be a"):
            write(tmp_path / name, "new")
    assert contents(tmp_path) == before


def test_a_report_and_an_export_never_replace_one_another(report):
    with pytest.raises(InputError, match=r"that of an earlier export, got .*report"), EXPORT.in_place_of(report):
        pass
    assert contents(report) == whole("old", "fig1.png")


def test_a_mount_point_is_refused_with_what_to_do(monkeypatch, report):
    for place in ("/", report):
        monkeypatch.setattr(os.path, "ismount", lambda path: True)
        with pytest.raises(InputError, match=r"out must be no disk's mount point, got .*; name a folder in it"):
            write(place, "new")
    assert contents(report) == whole("old", "fig1.png")


def test_a_foreign_file_of_a_name_that_the_report_needs_is_refused_before_anything_changes(report):
    (report / "table1.md").write_text("mine")
    with pytest.raises(InputError, match=r"a foreign 'table1\.md' in .*; move it away"):
        write(report, "new", "table1.md")
    assert contents(report) == whole("old", "fig1.png") | {"table1.md": "mine"}
    assert only_the_report(report)


def test_a_mark_that_names_what_is_elsewhere_removes_nothing_there(report, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    names = [*(own_names(report) or ()), "../../thesis.tex", str(tmp_path / "thesis.tex"), "..", ""]
    (report / MARK).write_text(json.dumps({"names": names}))
    write(report, "new")
    assert (tmp_path / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("a defect"), KeyboardInterrupt()])
def test_a_report_that_fails_leaves_the_earlier_one_and_nothing_of_its_own(report, error):
    def fail():
        with in_place_of(report) as new:
            (new / "index.html").write_text("half")
            raise error

    with pytest.raises(InputError if isinstance(error, OSError) else type(error)) as raised:
        fail()
    assert contents(report) == whole("old", "fig1.png")
    assert only_the_report(report)
    assert not isinstance(error, OSError) or "No space left on device; free space" in str(raised.value)


@pytest.mark.parametrize("moves", range(4))
def test_an_interrupt_at_any_move_leaves_one_report_whole_in_its_place(report, monkeypatch, moves):
    (report / "note.txt").write_text("mine")
    move, left = module._move, iter([False] * moves + [True])

    def interrupted(place, target):
        if next(left, False):
            raise KeyboardInterrupt
        move(place, target)

    monkeypatch.setattr(module, "_move", interrupted)
    with nullcontext() if moves == 3 else pytest.raises(KeyboardInterrupt):
        write(report, "new")
    assert contents(report) in (whole("old", "fig1.png") | {"note.txt": "mine"}, whole("new") | {"note.txt": "mine"})
    assert only_the_report(report)


def test_of_two_reports_at_once_one_waits_and_both_succeed(report, monkeypatch):
    waits = threading.Event()
    monkeypatch.setattr("harmonia.store.files.PATIENCE_S", 0)
    monkeypatch.setattr("harmonia.store.files.holder", lambda path: waits.set() or "another")
    second = threading.Thread(target=write, args=(report, "second"))
    with report_lock(report):
        second.start()
        assert waits.wait(60)
        assert contents(report) == whole("old", "fig1.png")
    second.join(60)
    assert contents(report) == whole("second")


def test_a_folder_keeps_its_rights(report):
    report.chmod(0o750)
    write(report, "new")
    assert report.stat().st_mode & 0o777 == 0o750
