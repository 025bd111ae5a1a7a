"""Laws of the table of agreement of maps: it is made from jobs' folders alone, and says what does not count."""

import numpy as np
import pandas as pd
import pytest
from planted_jobs import plant_transfer

from harmonia.report.contract import ReadJob
from harmonia.report.figures.map_agreement import map_agreement_figures
from harmonia.report.sections.transfer import TransferSection
from harmonia.report.tables.map_agreement import agreement_in_words
from harmonia.results.jobs import find_jobs
from harmonia.results.maps import SmallMaps, write_small_maps


@pytest.mark.usefixtures("few_resamples")
def test_maps_of_several_networks_are_compared_from_the_jobs_folders_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("harmonia.statistics.ranks.IMAGE_RESAMPLES", 50)
    monkeypatch.setattr("harmonia.report.sections.transfer.statistic_tables", lambda *given: [])
    hits = {"image": 12, "area30": 8, "blobs30": 2}
    right = {arm: [number < count for number in range(12)] for arm, count in hits.items()}
    shown = {arm: np.linspace(0, count / 12, 12) for arm, count in hits.items()}
    noise = np.random.default_rng(0).integers(0, 256, (2, 12, 7, 7), np.uint8)
    for source, soft in zip(("lite0", "lite1", "lite2"), (noise[0], noise[0], noise[1]), strict=True):
        smallest = np.where(np.kron(soft > 180, np.ones((16, 16), bool)), 30, 255).astype(np.uint8)
        boxes = np.tile(np.array([[0, 0, 1, 1]], np.float32), (12, 1))
        maps = SmallMaps([f"n{number}" for number in range(12)], soft, smallest, (30,), boxes)
        write_small_maps(plant_transfer(tmp_path / source, source, "gc", right, shown), maps)
    jobs = [ReadJob(job.folder.name, job, TransferSection.read(job)) for job in find_jobs(tmp_path)]
    section = TransferSection(jobs, "area30", (), ())
    table = section.details[-1]
    assert not any("maps are" in verdict for verdict, _ in section.answers[0].findings)  # three have three pairs
    for pair, says in ((jobs[:2], "more alike than"), (jobs[1:], "not clearly more alike than")):
        of_two = TransferSection(pair, "area30", (), ())
        first, second = (job.job.config["source"]["name"] for job in pair)
        verdict, numbers = of_two.answers[0].findings[-1]
        assert verdict.endswith(f" of {first} and {second}: the maps are {says} those of different images.")
        assert numbers.startswith(f"Their rank correlation is {of_two.details[-1].numbers['rho'][0]:z.2f}, that of ")
    lines = table.numbers.set_index(["first", "second"])
    assert (table.stem, lines["kind"].tolist()) == ("map_agreement", ["networks"] * 3 + ["families"])
    assert lines.loc[("lite0", "lite1"), ["rho", "iou", "images"]].tolist() == pytest.approx([1, 1, 12])
    assert (lines.loc[[("lite0", "lite2"), ("lite1", "lite2")], "rho"].abs() < 0.2).all()
    assert lines["above_control"].tolist() == pytest.approx([6 / 12] * 4)
    assert "Of 36 pairs of maps 0 explain different classes" in table.printed.attrs["footnotes"][-1]
    (figure,) = map_agreement_figures(table.numbers)
    assert figure.drawn.axes[0].texts[0].get_text() == "lite0, lite1"


def test_the_words_name_variants_apart_and_leave_out_random_weights_and_what_has_no_interval():
    pair = {"kind": "networks", "method": "gc", "first": "a", "second": "b", "rho": 0.8, "rho_another": 0.2}
    pair |= {
        "rho_above_another": 0.6,
        "rho_above_another_low": 0.5,
        "rho_above_another_high": 0.7,
        "random_weights": False,
    }
    lacking = {"rho_above_another_low": np.nan, "rho_above_another_high": np.nan}
    pairs = [pair | {"variant": variant} for variant in ("layer=x", "layer=y")]
    pairs += [
        pair | {"method": "ss", "variant": "", "random_weights": True},
        pair | {"method": "occ", "variant": ""} | lacking,
    ]
    names = [["gc", "layer=x", "Grad-CAM of x"], ["gc", "layer=y", "Grad-CAM of y"]]
    lines = pd.DataFrame(names, columns=["method", "variant", "method_name"])
    more = "the maps are more alike than those of different images."
    numbers = "Their rank correlation is 0.80, that of different images 0.20."
    assert list(agreement_in_words(pd.DataFrame(pairs), lines)) == [
        (f"Grad-CAM of {layer} of a and b: {more}", numbers) for layer in "xy"
    ]
