import re
import shutil

import numpy as np
import pandas as pd
import pytest
from planted_jobs import plant_localisation, plant_scores, plant_transfer

from harmonia.report.figures.ranking import link_figures
from harmonia.report.tables.ranking import link_table
from harmonia.report.tables.typeset import DOUBLE_DAGGER
from harmonia.report.write import write_report
from harmonia.results.gathered import gather, job_rows
from harmonia.results.gathered_scores import gather_scores, job_scores
from harmonia.results.jobs import find_jobs
from harmonia.results.rows import ROWS
from harmonia.statistics.comparison import compare
from harmonia.statistics.metric_transfer import metric_links, transferred

pytestmark = pytest.mark.usefixtures("blank_figures")

IMAGES = 20
NAN = float("nan")
METHODS = ("gc", "ss", "ig", "grad", "random")
BETTER = {"insertion": "higher", "deletion": "lower", "sparseness": ""}


def plant(run):
    """Five methods of lite0, each by three metrics; the n-th is better than the one before in all but deletion."""
    for number, method in enumerate(METHODS):
        spread = np.linspace(0, 0.01, IMAGES)
        for metric in BETTER:
            scores = {metric: list(0.1 * number + spread)}
            if method == "gc":
                scores[metric][:3] = [(NAN, "zero")] * 3
            plant_scores(run / f"{metric}-{method}", "lite0", method, scores, metric, BETTER)
    blind = {"mprt_ssim": [1.0] * IMAGES, "mprt_looks_at_model": [0.0] * IMAGES}
    plant_scores(run / "mprt", "lite0", "random", blind, "mprt")
    return run


@pytest.fixture
def run(tmp_path):
    return plant(tmp_path / "run")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What write_report gave of these jobs."""
    return write_report(plant(tmp_path_factory.mktemp("scores") / "run"))


def transfer(run, methods=METHODS):
    for number, method in enumerate(methods):
        feature = list(np.clip(0.1 * number + np.linspace(0.1, 0.5, IMAGES), 0, 1))
        of_arms = {"image": IMAGES, "area30": 5 + 3 * number, "blobs30": 3}
        right = {arm: [image < hits for image in range(IMAGES)] for arm, hits in of_arms.items()}
        p = {"image": [0.9] * IMAGES, "area30": feature, "blobs30": [0.1] * IMAGES}
        plant_transfer(run / f"transfer-{method}", "lite0", method, right, p)


def test_scores_alone_make_a_report_with_a_ranking_page(written):
    assert written.left_out == {}
    assert len(written.jobs) == 16
    folder = written.folder
    stems = ["ranking", "rank_spread", "metric_agreement"]
    assert [made.stem for made in written.tables] == stems
    for stem in stems:
        assert all((folder / f"{stem}.{suffix}").stat().st_size for suffix in ("md", "csv", "tex"))
    assert {figure.stem for figure in written.figures} == {"ranking", "metric_agreement"}
    index, page = ((folder / name).read_text() for name in ("index.html", "ranking.html"))
    assert 'href="ranking.html"' in index
    assert 'href="ranking.csv"' in index
    assert "<h1>Metrics of maps</h1>" in index
    assert "transfer_matrix" not in index
    assert not (folder / "transfer_matrix.csv").exists()
    assert "No number sums them up" not in index
    assert page.index("No number sums them up") < page.index("ranking.png") < page.index("metric_agreement.png")
    assert "nothing can be said about whether a metric foretells transfer" in page


def test_the_table_has_values_intervals_and_ranks_and_its_csv_a_line_a_metric(written):
    lines = (written.folder / "ranking.md").read_text().splitlines()
    head = next(line for line in lines if line.startswith("| Source"))
    assert "insertion ↑" in head
    assert "deletion ↓" in head
    assert "| sparseness |" in head
    gc = next(line for line in lines if line.startswith("| lite0 | GC"))
    cells = dict(zip(head.split("|"), gc.split("|"), strict=True))
    assert re.fullmatch(r" 0\.00579 \[0\.00\d+, 0\.00\d+\] \(5\) ", cells[" insertion ↑ "])
    assert cells[" deletion ↓ "].endswith("(1) ")
    assert "(" not in cells[" sparseness "]
    assert cells[" mprt_ssim ↓ "] == " – "
    numbers = pd.read_csv(written.folder / "ranking.csv").set_index(["method", "metric"])
    assert numbers.loc[("gc", "insertion"), ["images", "undefined", "rank", "methods"]].tolist() == [17, 3, 5, 5]
    assert np.isnan(numbers.loc[("gc", "sparseness"), "rank"])


def test_what_is_undefined_is_counted_with_its_reason_and_a_blind_method_is_marked(written):
    text = (written.folder / "ranking.md").read_text()
    assert "lite0, GC: 3 images without deletion, insertion, sparseness: zero." in text
    assert "lite0: ranks by deletion, insertion are of the 17 images that all its methods have." in text
    assert "Images: " not in text
    assert f"| lite0 | RANDOM {DOUBLE_DAGGER} |" in text
    assert "lite0, RANDOM: does not look at the model in 20 of 20 images" in text
    assert text.count(f"{DOUBLE_DAGGER} |") == 1


def test_metrics_that_order_methods_the_other_way_round_are_seen_to_disagree(written):
    agreements = pd.read_csv(written.folder / "metric_agreement.csv").set_index(["units", "first", "second"])
    assert agreements.loc[("methods", "deletion", "insertion"), "rho"].item() == pytest.approx(-1)
    assert agreements.loc[("images", "deletion", "insertion"), "rho"].item() == pytest.approx(-1)
    spread = pd.read_csv(written.folder / "rank_spread.csv").set_index("method")
    assert spread.loc["ig", ["best", "worst", "spread"]].tolist() == [0.5, 0.5, 0]
    lines = (written.folder / "rank_spread.md").read_text()
    assert "| lite0 | GRAD | insertion | deletion | 0.25 | 0.75 | 0.50 | 5 | 2 |" in lines
    assert spread.loc["grad", ["best_by", "worst_by"]].tolist() == ["insertion", "deletion"]


def test_with_transfer_it_is_said_which_metric_foretells_it(run):
    transfer(run)
    jobs = find_jobs(run)
    rows = gather([job_rows(job) for job in jobs if (job.folder / ROWS).is_file()])
    scored, _ = gather_scores([job_scores(job) for job in jobs if not (job.folder / ROWS).is_file()])
    links = [(part, metric_links(part)) for part in transferred(scored, compare(rows), rows, jobs)]
    table = link_table(scored, links)
    numbers = table.numbers.set_index("metric")
    assert numbers.loc[["insertion", "deletion"], "over_cells"].tolist() == pytest.approx([1, -1])
    assert numbers.loc[["insertion", "deletion"], "over_cells_p"].tolist() == pytest.approx([2 / 120] * 2)
    printed = table.printed.set_index("Metric")
    assert printed.loc["insertion ↑", ["Over methods", "p"]].tolist() == ["1.00", "0.0167"]  # no interval of no width
    assert numbers.loc[["insertion", "deletion"], "over_images"].tolist() == pytest.approx([1, -1])
    assert numbers["image_cells"].tolist() == [5, 5, 0, 5]  # a score of 1 for every image ranks none
    drawn = [figure.stem for of_fill in links for figure in link_figures(*of_fill)]
    assert drawn == ["metric_transfer", "metric_transfer_images", "metric_transfer_rho"]


def test_transfer_and_scores_share_a_report_and_have_pages_of_their_own(run):
    transfer(run, ["gc"])
    report = write_report(run, arm="area30")
    assert report.left_out == {}
    index, page = ((run / "report" / name).read_text() for name in ("index.html", "ranking.html"))
    assert "nothing can be said" not in page
    assert all((run / "report" / f"metric_transfer{part}.png").stat().st_size for part in ("", "_images"))
    assert page.index("Does a metric foretell transfer? Spearman") < page.index("metric_transfer_images.png")
    assert "transfer_matrix.png" not in page
    assert "metric_transfer" not in index
    assert "transfer_matrix.png" in index


def test_an_earlier_ranking_page_goes_with_its_scores(run):
    write_report(run)
    for folder in run.glob("[!.]*"):
        if folder.name != "report":
            (folder / "error.txt").write_text("out of disk\n")
    plant_localisation(run, "mosaics")  # without a finished job the earlier report would stay
    write_report(run)
    assert not [path.name for path in (run / "report").glob("rank*")]
    index = (run / "report" / "index.html").read_text()
    assert "localisation" in index
    assert "ranking" not in index


def test_a_metric_that_ran_on_a_part_of_the_images_says_so(run):
    for method in METHODS:
        plant_scores(run / f"road-{method}", "lite0", method, {"road": [0.5] * 5}, "road", {"road": "higher"})
    write_report(run)
    text = (run / "report" / "ranking.md").read_text()
    assert "Images: 20 (deletion, insertion, sparseness, mprt_ssim), 5 (road)." in text


def test_of_one_metric_no_spread_is_told(run):
    for folder in run.glob("[!.]*"):
        if not folder.name.startswith("deletion"):
            shutil.rmtree(folder)
    assert [made.stem for made in write_report(run).tables] == ["ranking"]


def test_damaged_scores_hide_no_other_job(run):
    (run / "deletion-gc" / "scores.parquet").write_bytes(b"PAR1 torn")
    report = write_report(run)
    assert list(report.left_out) == ["deletion-gc"]
    assert len(report.jobs) == 15
