"""A kind of jobs that harmonia does not know: its section is one module, named by the user, never by a job's folder."""

import importlib
import json
import sys

import pandas as pd
import pytest
import yaml
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from planted_jobs import plant_scores

from harmonia.dashboard import main as dashboard
from harmonia.errors import InputError
from harmonia.report.__main__ import main
from harmonia.report.after_sweep import ReportAfterSweep, report_sweep
from harmonia.report.contract import find_sections
from harmonia.report.tables.columns import StatisticTable
from harmonia.report.tables.typeset import table
from harmonia.report.write import write_report
from harmonia.results.jobs import find_jobs

MODULE = """
import pandas as pd
from matplotlib.figure import Figure

from harmonia.errors import InputError
from harmonia.report.contract import Section
from harmonia.report.figures.style import CaptionedFigure
from harmonia.report.tables.columns import StatisticTable
from harmonia.report.tables.typeset import table


class Brightness(Section):
    rows_file = "brightness.csv"
    heading = "Brightness of maps"
    numbers = "brightness_by_method.csv"

    def gather(self):
        numbers = pd.concat([job.content for job in self.jobs]).groupby("method", as_index=False).mean()
        printed = pd.DataFrame({"Method": numbers["method"], "Mean": [f"{mean:.2f}" for mean in numbers["mean"]]})
        self.headlines = [StatisticTable("brightness_by_method", table(printed, "Bright maps.", 1), numbers)]

    @staticmethod
    def read(job):
        rows = pd.read_csv(job.folder / "brightness.csv")
        if rows.empty:
            raise InputError("brightness.csv must have a line, got none; run the job again")
        return rows

    def make_figures(self):
        yield CaptionedFigure("brightness", "Brightness.", "None yet.", Figure(figsize=(2, 1)))

    @staticmethod
    def panels(jobs, arm, panels):
        return {"Brightness": panels.figures("brightness") + panels.tables("brightness_by_method")}


class Evaluation:
    section = __name__
"""
LOGGER = {"_target_": "pytorch_lightning.loggers.WandbLogger", "project": "harmonia"}


def plant(folder, method="gc", mean=0.25, rows="brightness.csv", **config):
    """A job of an evaluation that is not harmonia's: its environment says where its rows are."""
    folder.mkdir(parents=True)
    config |= {"method": {"name": method}, "evaluation": {"_target_": "brightness_rows.Evaluation"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps({"files": [rows, "other.bin"]}))
    (folder / "brightness.csv").write_text(f"method,mean\n{method},{mean}\n")
    (folder / "summary.json").write_text("{}")
    return folder


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module beside harmonia that has the section."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "brightness_rows.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    yield "brightness_rows"
    sys.modules.pop("brightness_rows", None)


@pytest.fixture
def run(tmp_path):
    plant(tmp_path / "run" / "0")
    plant(tmp_path / "run" / "1", "ss", 0.75)
    return tmp_path / "run"


def test_a_section_that_is_named_has_its_tables_and_figures_in_the_report(run, module, capsys):
    plant_scores(run / "2", "lite0", "gc", {"deletion": [0.1, 0.2]})
    assert main([f"run={run}", f"sections={module}"]) == 0
    printed = capsys.readouterr().out
    assert "Bright maps." in printed
    assert "left out" not in printed
    report = run / "report"
    assert (report / "brightness_by_method.csv").read_text() == "method,mean\ngc,0.25\nss,0.75\n"
    assert (report / "brightness.png").stat().st_size > 0
    page = (report / "index.html").read_text()
    assert page.index("Bright maps.") < page.index("brightness.png")
    assert "<h1>Metrics of maps</h1>" in page  # first things first
    assert "ranking.html" in page


def test_alone_it_is_what_the_report_is_about_which_stays_where_its_module_is_not_named(run, module):
    page = run / "report" / "index.html"
    write_report(run, sections=[module])
    assert "<h1>Brightness of maps</h1>" in page.read_text()
    assert 'href="brightness_by_method.csv"' in page.read_text()
    with pytest.raises(InputError, match=r"a finished job to replace .* with sections=package\.module; add out="):
        write_report(run)
    assert "<h1>Brightness of maps</h1>" in page.read_text()
    assert "<h1>Nothing finished</h1>" in (write_report(run, out=run / "new").folder / "index.html").read_text()


def test_a_jobs_folder_decides_of_no_code_and_the_report_says_how_to_name_it(run, module):
    report = write_report(run)
    assert module not in sys.modules
    assert list(report.left_out) == ["0", "1"]
    assert "'brightness.csv' must be rows that a section reads" in report.left_out["0"]
    assert "sections=package.module" in report.left_out["0"]


def test_a_sections_refusal_to_read_leaves_that_job_out(run, module):
    (run / "0" / "brightness.csv").write_text("method,mean\n")
    report = write_report(run, sections=[module])
    assert report.left_out == {"0": "brightness.csv must have a line, got none; run the job again"}


class Untypeset:
    def __str__(self):
        raise ValueError("no text")


@pytest.mark.parametrize("place", ["main", "headlines", "details"])
@pytest.mark.parametrize("of_tables", ["some", "none"])
def test_a_table_that_cannot_be_typeset_is_left_out_by_name_and_costs_no_other(
    run, module, monkeypatch, capsys, place, of_tables
):
    section = importlib.import_module(module).Brightness
    gather = section.gather

    def gather_more(self):
        gather(self)
        (good,) = self.headlines
        self.headlines = [] if of_tables == "none" else self.headlines
        printed = table(pd.DataFrame({"Method": ["gc", Untypeset()]}), "A bad table.", 1)
        getattr(self, place).append(StatisticTable("bad_table", printed, good.numbers))

    monkeypatch.setattr(section, "gather", gather_more)
    assert main([f"run={run}", f"sections={module}"]) == 1
    printed = capsys.readouterr().out
    assert "left out: Brightness of maps: table bad_table: unreadable: " in printed
    assert ("Bright maps." in printed) is (of_tables == "some")
    assert not list((run / "report").glob("bad_table*"))
    assert (run / "report" / "brightness_by_method.csv").exists() is (of_tables == "some")
    assert (run / "report" / "brightness.png").exists()
    page = (run / "report" / "index.html").read_text()
    assert "table bad_table" in page
    assert "A bad table." not in page
    assert ('href="brightness_by_method.csv"' in page) is (of_tables == "some")
    ReportAfterSweep().on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(run)}}, "packages": []}))
    monkeypatch.setattr("harmonia.report.write.find_sections", lambda modules: find_sections([module]))
    assert report_sweep() == 1


@pytest.mark.parametrize("rows", ["", "../1/brightness.csv", "/etc/passwd", 7])
def test_a_recorded_name_that_is_no_file_of_the_folder_is_none(tmp_path, rows):
    plant(tmp_path / "0", rows=rows)
    (job,) = find_jobs(tmp_path)
    assert job.error == "unfinished: no rows"


def test_a_job_without_its_recorded_rows_is_unfinished(tmp_path):
    (plant(tmp_path / "0") / "brightness.csv").unlink()
    (job,) = find_jobs(tmp_path)
    assert job.error == "unfinished: no brightness.csv"


def configured(run, **more):
    hydra = {"run": {"dir": str(run)}, "sweep": {"dir": str(run)}, "runtime": {"cwd": "/"}}
    evaluation = {"_target_": "brightness_rows.Evaluation"}
    return OmegaConf.create({"evaluation": evaluation, "packages": ["brightness_rows"], "hydra": hydra | more})


def test_after_a_run_the_evaluation_that_ran_names_its_section(run, module, capsys):
    ReportAfterSweep().on_run_end(configured(run), job_return=JobReturn(status=JobStatus.COMPLETED))
    report_sweep()
    assert "Bright maps." in capsys.readouterr().out


@pytest.mark.parametrize(
    "more",
    [
        {"overrides": {"task": ["source=lite0", "evaluation=deletion,bright"]}},
        {"sweeper": {"params": {"evaluation": "deletion,bright", "source": "lite0,lite1"}}},
    ],
)
def test_after_a_sweep_of_evaluations_each_names_its_section(run, module, capsys, more, tmp_path):
    from hydra import initialize_config_dir

    conf = tmp_path / "conf"
    (conf / "evaluation").mkdir(parents=True)
    (conf / "evaluation" / "bright.yaml").write_text("_target_: brightness_rows.Evaluation\n")
    (conf / "evaluation" / "deletion.yaml").write_text("_target_: harmonia.evaluation.scores.MapScores\n")
    config = configured(run, **more)
    config.evaluation._target_ = "harmonia.evaluation.transfer.Transfer"
    with initialize_config_dir(str(conf), version_base="1.3"):
        ReportAfterSweep().on_multirun_start(config)
    report_sweep()
    assert "Bright maps." in capsys.readouterr().out


def test_after_a_run_no_code_is_imported_that_the_user_has_not_named(run, module, capsys):
    config = configured(run)
    config.packages = []
    ReportAfterSweep().on_run_end(config, job_return=JobReturn(status=JobStatus.COMPLETED))
    report_sweep()
    assert "Bright maps." not in capsys.readouterr().out


def test_two_sections_that_write_one_file_are_refused_and_leave_none(run, module, monkeypatch):
    (section,) = (section for section in find_sections([module]) if section.__module__ == module)
    plain = section.gather

    def gather(self):
        plain(self)
        self.data["brightness_by_method"] = self.headlines[0].numbers

    monkeypatch.setattr(section, "gather", gather)
    with pytest.raises(InputError, match=r"got 'brightness_by_method\.csv' twice; rename one"):
        write_report(run, sections=[module])
    assert not (run / "report").exists()


def test_its_panels_are_in_the_workspace(tmp_path, module, capsys):
    pytest.importorskip("wandb_workspaces.workspaces", reason="the extra dashboard is not installed")
    plant(tmp_path / "run" / "0", logger=LOGGER)
    write_report(tmp_path / "run", sections=[module])
    assert dashboard([f"run={tmp_path / 'run'}", f"sections={module}"]) == 0
    code = capsys.readouterr().out
    assert "figures/brightness" in code
    assert "tables/brightness_by_method" in code


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        (["no_such_module"], "'no_such_module' must be a module's dotted name"),
        ([""], "'' must be a module's dotted name"),
        (["harmonia.errors"], "harmonia.errors must have a subclass of harmonia.report.contract.Section"),
    ],
)
def test_a_module_that_has_no_section_is_refused(modules, reason):
    with pytest.raises(InputError, match=reason):
        find_sections(modules)


def test_rows_that_two_sections_read_are_refused(module):
    find_sections([module, module, "harmonia.report.sections.transfer"])
    sys.modules[module].Brightness.rows_file = "rows.parquet"
    with pytest.raises(InputError, match=r"rows\.parquet must have one section"):
        find_sections([module])


def test_sections_come_by_their_place():
    assert [section.rows_file for section in find_sections(())] == [
        "rows.parquet",
        "localisation.parquet",
        "scores.parquet",
    ]
