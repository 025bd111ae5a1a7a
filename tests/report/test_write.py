import os
import shutil
import signal
import subprocess
import sys
from html import escape
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from paths import REPOSITORY

from harmonia.errors import InputError
from harmonia.report.__main__ import main
from harmonia.report.after_sweep import ReportAfterSweep, report_sweep
from harmonia.results.rows import row_writer, write_summary
from harmonia.store.whole import REPORT

pytestmark = pytest.mark.usefixtures("blank_figures")

HOSTILE = "<script>alert('x')</script>"
STATISTICS = ["transfer_above_control", "controls", "matrix", "families"]
STATISTICS += ["tests", "source_right", "agreement", "classes"]
UNNAMED = {"browse.html", "image.html", "page"}  # reached from index.html
FILES = sorted(
    [*UNNAMED, REPORT.mark, "index.html", "answer.md", "table1.csv", "table1.md", "table1.tex", "transfer_matrix.csv"]
    + [
        f"{stem}.{suffix}"
        for stem in ("answer", "fig2", "transfer_matrix", "accuracy_by_area", "area_distributions")
        for suffix in ("png", "pdf")
    ]
    + [f"{stem}.{suffix}" for stem in STATISTICS for suffix in ("md", "csv", "tex")]
)


BROKEN = {  # names of jobs, and what is said of them
    "truncated": "readable Parquet",
    "no_summary": "unfinished: no summary.json",
    "failed": "OutOfMemoryError: 600 px",
    "older": "lacks ['path']",
    "other_types": "column label must hold text, got int64",
    "empty": "got none",
    "torn_config": "readable YAML",
    "torn_summary": "readable JSON",
    "repeated": "got another",
}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


ARMS = {"image": 10, "soft": 8, "area30": 5}


def plant(folder, hits=8, target="e6", source="e7", arms=ARMS, weights=None, **options):
    """A finished job: 10 images, all right on the whole image, some on the feature."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"source": {"name": source, "weights": weights}, "data": {"root": "/x/woof"}} | options
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with row_writer(folder) as append:
        for arm, right in (arms | {"soft": hits}).items():
            constant = {
                "path": "x.jpg",
                "source": source,
                "method": "ss",
                "label_policy": "predicted",
                "arm": arm,
                "fill": "black",
                "target": target,
                "label": HOSTILE,
                "explained": HOSTILE,
                "source_predicted": HOSTILE,
                "p_label": 0.5,
                "p_explained": 0.5,
                "p_predicted": 0.5,
                "entropy": 1.0,
                "kept_area": 1.0,
                "flag": "",
                "top5": [HOSTILE],
            }
            columns = {name: [value] * 10 for name, value in constant.items()}
            predicted = [HOSTILE] * right + ["owl"] * (10 - right)
            append(columns | {"image_id": list("abcdefghij"), "predicted": predicted})
    write_summary(folder, {})


def fail(folder, reason):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text("source: {name: vit}")
    (folder / "error.txt").write_text(reason + "\n")


@pytest.mark.usefixtures("drawn_figures")
def test_failed_jobs_are_named_and_the_others_are_in_the_table(tmp_path, capsys):
    plant(tmp_path / "0")
    fail(tmp_path / "1", "OutOfMemoryError: 600 px")
    plant(tmp_path / "2", target="e5")
    (tmp_path / "2" / "rows.parquet").write_bytes(b"torn")
    assert main([f"run={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "left out: 1: OutOfMemoryError: 600 px" in printed
    assert "left out: 2: " in printed
    assert "readable Parquet" in printed
    files = sorted(path.name for path in (tmp_path / "report").iterdir())
    assert files == FILES
    assert f"report: {tmp_path / 'report' / 'index.html'}" in printed
    assert all(Path(name).stem in printed for name in files if name not in {*UNNAMED, REPORT.mark})
    assert "| SS | Accuracy (%) | 100.00 | 80.00 |" in (tmp_path / "report" / "table1.md").read_text()
    matrix = pd.read_csv(tmp_path / "report" / "transfer_matrix.csv")
    assert matrix[["target", "arm", "retention"]].values.tolist() == [
        ["e6", "soft", 0.8],
        ["e6", "area30", 0.5],
    ]


def test_no_broken_job_hides_or_kills_the_others(tmp_path, capsys):
    plant(tmp_path / "good")
    broken = {}
    for number, name in enumerate(BROKEN):
        broken[name] = tmp_path / name
        plant(broken[name], target=f"t{number}")
    rows = pq.read_table(tmp_path / "good" / "rows.parquet")
    whole = (tmp_path / "good" / "rows.parquet").read_bytes()
    (broken["truncated"] / "rows.parquet").write_bytes(whole[: len(whole) // 2])
    (broken["no_summary"] / "summary.json").unlink()
    (broken["failed"] / "error.txt").write_text("OutOfMemoryError: 600 px\n")
    pq.write_table(rows.drop_columns(["path"]), broken["older"] / "rows.parquet")  # no table reads this one
    numbered = rows.set_column(rows.schema.get_field_index("label"), "label", [list(range(len(rows)))])
    pq.write_table(numbered, broken["other_types"] / "rows.parquet")
    pq.write_table(rows.slice(0, 0), broken["empty"] / "rows.parquet")
    (broken["torn_config"] / "config.yaml").write_text("source: [")
    (broken["torn_summary"] / "summary.json").write_text("{")
    pq.write_table(pa.concat_tables([rows, rows]), broken["repeated"] / "rows.parquet")
    assert main([f"run={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    for name, words in BROKEN.items():
        (line,) = (line for line in printed.splitlines() if line.startswith(f"left out: {name}: "))
        assert words in line
    assert "| SS | Accuracy (%) | 100.00 | 80.00 |" in (tmp_path / "report" / "table1.md").read_text()
    page = (tmp_path / "report" / "index.html").read_text()
    assert all(f"<b>{name}</b>" in page for name in BROKEN)


@pytest.mark.parametrize("name", ["maps.parquet", "representations.parquet", "environment.json"])
def test_a_torn_file_that_tables_do_not_need_costs_no_job(tmp_path, capsys, name):
    plant(tmp_path / "0")
    (tmp_path / "0" / name).write_bytes(b"torn")
    assert main([f"run={tmp_path}"]) == 0
    assert "left out" not in capsys.readouterr().out


def test_a_source_with_random_weights_is_marked_in_tables_figures_and_pages(tmp_path):
    plant(tmp_path / "0")
    plant(tmp_path / "1", source="e7_random", weights="random")
    main([f"run={tmp_path}"])
    report = tmp_path / "report"
    assert "Source e7_random (random weights)" in (report / "table2.md").read_text()
    assert "e7_random (random weights)" in (report / "controls.md").read_text()
    index = (report / "page" / "data" / "index.js").read_text()
    assert '"e7_random (random weights)"' in index
    assert '"e7 (random weights)"' not in index


def test_reporting_twice_gives_the_same_files(tmp_path):
    plant(tmp_path / "0")
    main([f"run={tmp_path}"])
    before = contents(tmp_path / "report")
    assert len(before) > len(FILES)
    main([f"run={tmp_path}"])
    assert before == contents(tmp_path / "report")


def test_arm_and_out_are_followed(tmp_path, capsys):
    plant(tmp_path / "sweep" / "0")
    assert main([f"run={tmp_path / 'sweep' / '0'}", "arm=area30", f"out={tmp_path / 'here'}"]) == 0
    assert "| SS | Accuracy (%) | 100.00 | 50.00 |" in (tmp_path / "here" / "table1.md").read_text()
    assert not (tmp_path / "sweep" / "0" / "report").exists()


@pytest.mark.parametrize("arm", ["soft", "area30"])
def test_the_terminal_shows_tables_of_the_answers_arm_alone_and_ends_with_the_answer(tmp_path, capsys, arm):
    run = tmp_path / "the run"
    plant(run / "0", arms=ARMS | {"blobs30": 2})
    assert main([f"run={run}", f"arm={arm}"]) == 0
    printed = capsys.readouterr().out
    assert ("Accuracy (%)" in printed) == (arm == "area30")
    hint = f"python -m harmonia.report run='{run}' arm=area30 out='{run}'/report_area30"
    assert (hint in printed) == (arm == "soft")
    assert "FOLDER" not in printed
    _, answer = printed.split("What may not be concluded:")
    assert "Accuracy carried into other networks (%)" in answer
    assert answer.rstrip().splitlines()[-1].startswith(("└", "["))  # the table's end, or its footnote
    assert "folder" not in printed.replace(str(run), "")
    assert "of woof with 2 networks" in printed


def test_nothing_finished_is_exit_code_1_and_still_a_page(tmp_path, capsys):
    fail(tmp_path / "1", "no weights")
    assert main([f"run={tmp_path}"]) == 1
    assert "no weights" in (tmp_path / "report" / "index.html").read_text()
    assert "no finished job" in capsys.readouterr().out


def test_a_job_that_ran_again_is_said_to_be_replaced(tmp_path, capsys):
    plant(tmp_path / "0")
    plant(tmp_path / "1")
    assert main([f"run={tmp_path}"]) == 0
    assert "left out: 0: replaced by a job of the same cells" in capsys.readouterr().out


def test_a_job_of_another_seed_is_not_replaced(tmp_path, capsys):
    plant(tmp_path / "0", seed=0)
    plant(tmp_path / "1", seed=1, hits=7)
    assert main([f"run={tmp_path}"]) == 0
    assert "left out" not in capsys.readouterr().out
    printed = (tmp_path / "report" / "table1.md").read_text()
    assert "| SS (seed=0) | Accuracy (%) | 100.00 | 80.00 |" in printed
    assert "| SS (seed=1) | Accuracy (%) | 100.00 | 70.00 |" in printed


def test_tables_of_an_earlier_larger_report_go_and_nothing_else_does(tmp_path):
    plant(tmp_path / "0")
    plant(tmp_path / "1", data={"name": "nette"})
    report = tmp_path / "report"
    main([f"run={tmp_path}"])
    assert (report / "table2.md").is_file()
    assert (report / "fig2_2.png").is_file()
    others = ["fig2_two.png", "table.md", "table02.md", "table2.txt", "table2.md.bak", "my_table2.md"]
    for name in others:
        (report / name).touch()
    shutil.rmtree(tmp_path / "1")
    main([f"run={tmp_path}"])
    assert sorted(path.name for path in report.iterdir()) == sorted([*others, *FILES])


def test_without_a_finished_job_the_earlier_report_stays(tmp_path, capsys, caplog):
    plant(tmp_path / "0")
    main([f"run={tmp_path}"])
    before = contents(tmp_path / "report")
    (tmp_path / "0" / "error.txt").write_text("out of disk\n")
    capsys.readouterr()
    assert main([f"run={tmp_path}"]) == 2
    rule = f"run must hold a finished job to replace the report in {tmp_path / 'report'}, got none in '{tmp_path}': out"
    assert capsys.readouterr() == ("", f"harmonia: {rule} of disk; add out=FOLDER for a page of all reasons\n")
    ReportAfterSweep().on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    assert report_sweep() == 1
    assert rule in caplog.text
    assert contents(tmp_path / "report") == before
    assert main([f"run={tmp_path}", f"out={tmp_path / 'new'}"]) == 1
    assert not list((tmp_path / "new").glob("*.csv"))


def test_tables_of_statistics_are_written_and_go_with_their_jobs(tmp_path):
    plant(tmp_path / "0", method={"name": "ss"})
    report = tmp_path / "report"
    main([f"run={tmp_path}"])
    written = {path.stem for path in report.glob("*.csv")}
    assert {"transfer_above_control", "controls", "matrix", "families", "tests", "agreement", "classes"} <= written
    numbers = pd.read_csv(report / "controls.csv").set_index("arm")
    assert numbers.loc["soft", "retention"] == 0.8
    assert numbers.loc["soft", "retention_low"] < 0.8 < numbers.loc["soft", "retention_high"]
    shutil.rmtree(tmp_path / "0")
    plant(tmp_path / "1", target="e7")  # the source itself: no transfer
    main([f"run={tmp_path}"])
    assert not list(report.glob("transfer_above_control.*"))


def test_what_the_grid_lacks_is_said_on_the_page_and_in_the_terminal(tmp_path, capsys):
    plant(tmp_path / "0")
    assert main([f"run={tmp_path}"]) == 0
    missing = "source e7, method ss, target e6: no arms blobs30, dim"
    assert f"missing: {missing}" in capsys.readouterr().out
    assert missing in (tmp_path / "report" / "index.html").read_text()


def test_likeness_of_models_is_shown_from_five_pairs_on_and_goes_with_them(tmp_path):
    models = ("a", "b", "c")
    for number, source in enumerate(models):
        for target in models:
            job = tmp_path / f"{source}{target}"
            plant(job, 8 - number, target, source, ARMS | {"dim": 2 + number, "blobs30": 1})
    report = tmp_path / "report"
    main([f"run={tmp_path}"])
    likeness = {f"likeness.{suffix}" for suffix in ("md", "csv", "tex", "png", "pdf")}
    assert likeness <= {path.name for path in report.iterdir()}
    page = (report / "index.html").read_text()
    assert "likeness.png" in page
    assert "over 6 pairs" in page
    numbers = pd.read_csv(report / "likeness.csv")
    assert len(numbers) == 6 * 2  # arms
    assert numbers["above_control"].notna().all()
    shutil.rmtree(tmp_path / "ab")
    shutil.rmtree(tmp_path / "ac")
    main([f"run={tmp_path}"])
    assert not likeness & {path.name for path in report.iterdir()}


def notes(path):
    """What stands beneath a table's lines in Markdown."""
    return [line for line in path.read_text().rpartition("|")[2].splitlines() if line]


def test_the_page_shows_every_table_with_its_notes(tmp_path):
    plant(tmp_path / "0", target="e6", arms=ARMS | {"dim": 2})
    report = tmp_path / "report"
    main([f"run={tmp_path}"])
    page = (report / "index.html").read_text()
    for stem in ["table1", *STATISTICS]:
        assert page.count(f'<a href="{stem}.csv">csv</a>') == 1
        assert all(escape(note) in page for note in notes(report / f"{stem}.md"))


def test_a_job_with_rows_twice_is_left_out_and_hides_no_other(tmp_path, capsys):
    plant(tmp_path / "0")
    plant(tmp_path / "1", target="e5")
    rows = pd.read_parquet(tmp_path / "1" / "rows.parquet")
    with row_writer(tmp_path / "1") as append:
        for _ in range(2):
            append({name: rows[name].tolist() for name in rows})
    assert main([f"run={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "left out: 1: rows must be one per image, target and arm" in printed
    assert "50 [20, 80]" in printed


def test_a_folder_without_any_job_is_left_as_it_is(tmp_path, capsys):
    assert main([f"run={tmp_path}"]) == 1
    assert "no finished job" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_page_escapes_what_others_named(tmp_path):
    plant(tmp_path / "0", target=HOSTILE)
    fail(tmp_path / "1", HOSTILE)
    main([f"run={tmp_path}"])
    page = (tmp_path / "report" / "index.html").read_text()
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;") >= 3  # two columns, one reason


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "run must be given"),
        (["rum=x"], "did you mean 'run'?"),
        (["run"], "write run=VALUE"),
        (["run=a", "run=b"], "given once"),
        (["run={run}", "arm=sofd"], "did you mean 'soft'?"),
        (["run={run}", "arm=image"], "must be one of area30, soft"),
        (["run={run}x"], "did you mean 'run'?"),
        (["run={run}/0/rows.parquet"], "must be a folder, got the file"),
        (["run={run}", "out={run}/0/rows.parquet"], "out must be a folder"),
        (["run={run}", "images=b,a.jpg"], "there is 'a'"),
        (["run={run}", "thumbnails=many"], "must be a number of images or all"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(tmp_path, capsys, words, message):
    plant(tmp_path / "run" / "0")
    assert main([word.format(run=tmp_path / "run") for word in words]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.count("\n") == 1
    assert streams.err.startswith("harmonia: ")
    assert message in streams.err


def test_the_module_runs_and_exits_without_a_traceback():
    command = [sys.executable, "-m", "harmonia.report", "run=/nonexistent/folder"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "must be an existing folder" in ran.stderr
    helped = subprocess.run([*command[:3], "--help"], capture_output=True, text=True, cwd=REPOSITORY)
    assert helped.returncode == 0
    assert "python -m harmonia.report run=FOLDER" in helped.stdout


def test_a_report_is_made_without_torch_and_the_command_begins_with_nothing_that_takes_long(tmp_path):
    plant(tmp_path / "job")
    # whoever ends the command while pandas is imported is answered in one line
    code = "import sys, harmonia.dashboard, harmonia.report.__main__ as report; assert 'pandas' not in sys.modules\n"
    code += "import harmonia.report.workspace; sys.exit(report.main() or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, f"run={tmp_path}", f"out={tmp_path / 'r'}"], cwd=REPOSITORY)
    assert done.returncode == 0
    assert (tmp_path / "r" / "index.html").is_file()


def test_the_report_is_made_in_the_sweeps_folder(tmp_path):
    plant(tmp_path / "sweep" / "0")
    config = OmegaConf.create({"hydra": {"sweep": {"dir": "sweep"}, "runtime": {"cwd": str(tmp_path)}}})
    ReportAfterSweep().on_multirun_start(config)
    report_sweep()
    assert (tmp_path / "sweep" / "report" / "table1.md").is_file()


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED])
def test_a_single_run_that_went_well_ends_with_its_report(tmp_path, capsys, status):
    plant(tmp_path / "job")
    config = OmegaConf.create({"hydra": {"run": {"dir": "job"}, "runtime": {"cwd": str(tmp_path)}}})
    ReportAfterSweep().on_run_start(config, config_name="config")
    ReportAfterSweep().on_run_end(config, job_return=JobReturn(status=status), config_name="config")
    report_sweep()
    well = status is JobStatus.COMPLETED
    assert (tmp_path / "job" / "report" / "table1.md").is_file() is well
    assert ("50 [20, 80]" in capsys.readouterr().out) is well


def test_the_command_line_ends_a_single_run_with_its_report_and_a_refused_one_without(cli, tmp_path, monkeypatch):
    words = ["hydra.run.dir=job", "logger=none", "source=timm", "source.arch=x"]
    monkeypatch.setattr("harmonia.job.pipeline.run", lambda config: plant(tmp_path / "job"))
    code, out, err = cli(*words, report=True)
    assert code == 0, err
    assert "50 [20, 80]" in out
    assert str(tmp_path / "job" / "report" / "index.html") in out

    def refuse(*given, **asked):
        raise InputError("no such thing")

    monkeypatch.setattr("harmonia.job.pipeline.run", refuse)
    shutil.rmtree(tmp_path / "job")  # a planted job is none of harmonia's, whose folder may be taken again
    code, out, err = cli(*words, report=True)
    assert (code, out, err) == (2, "", "harmonia: no such thing\n")

    monkeypatch.setattr("harmonia.job.pipeline.run", lambda config: plant(tmp_path / "job"))
    monkeypatch.setattr("harmonia.report.write.write_report", refuse)
    code, out, err = cli(*words, report=True)
    assert code == 1
    assert "the jobs' rows are kept" in out + err
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), InputError("out must be ours"), KeyError("x")]
)
def test_a_failing_report_is_a_logged_error_and_a_defect_has_a_traceback(tmp_path, caplog, monkeypatch, error):
    def failing(folder, **asked):
        raise error

    monkeypatch.setattr("harmonia.report.write.write_report", failing)
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    ReportAfterSweep().on_multirun_start(config)
    assert report_sweep() == 1
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert bool(record.exc_info) is isinstance(error, KeyError)
    assert (
        f"the jobs' rows are kept; make it again with python -m harmonia.report run={tmp_path}" in record.getMessage()
    )
    assert report_sweep() == 0  # no sweep has started since
    ReportAfterSweep().on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path / "refused")}}}))
    assert report_sweep() == 0  # nor was this one's folder ever made
    assert len(caplog.records) == 1


def test_a_sweep_that_has_left_no_job_where_it_is_looked_for_has_failed(tmp_path):
    ReportAfterSweep().on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}))
    assert report_sweep() == 1


def end_by(monkeypatch, work):
    """The report's pages are written by this work instead."""
    monkeypatch.setattr("harmonia.report.write.write_pages", lambda *given: work())


def test_a_full_disk_is_one_line_and_leaves_the_earlier_report(tmp_path, capsys, monkeypatch):
    def full():
        raise OSError(28, "No space left on device")

    fail(tmp_path / "1", "no weights")
    main([f"run={tmp_path}"])
    before = contents(tmp_path)
    capsys.readouterr()
    end_by(monkeypatch, full)
    assert main([f"run={tmp_path}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"harmonia: {tmp_path / 'report'}: the report's folder must be readable, writable and have space, got: "
        "No space left on device; free space, rerun, or choose another folder with out=FOLDER\n"
    )
    assert {path for path in contents(tmp_path) if path.suffix != ".lock"} == {
        path for path in before if path.suffix != ".lock"
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_is_one_line_and_leaves_nothing_of_the_new_report(tmp_path, capsys, monkeypatch, number):
    fail(tmp_path / "1", "no weights")
    end_by(monkeypatch, lambda: os.kill(os.getpid(), number))
    assert main([f"run={tmp_path}"]) == 130
    assert capsys.readouterr() == ("", "harmonia: interrupted\n")
    assert {path.name for path in tmp_path.iterdir()} == {"1", ".report.lock"}
