"""docs/rating-a-model.md: the old command with one network more computes that network's row and column alone."""

import pytest
from networks import write_yamls
from PIL import Image

from harmonia.results.jobs import find_jobs

IMAGES, ARMS = 3, 3  # image, soft, area30
WORDS = ["-m", "method=gc", "data=folder", "data.root=images", "trainer=cpu", "logger=none", "hydra.sweep.dir=grid"]
WORDS += ["evaluation.controls=null", "evaluation.areas=[0.3]", "hydra.searchpath=[file://conf]"]


@pytest.mark.slow
def test_a_network_added_to_a_grid_costs_its_row_and_its_column(cli, tmp_path):
    write_yamls(tmp_path / "conf", {"one": "test_resnet", "two": "test_byobnet", "mine": "test_efficientnet"})
    for number in range(IMAGES):
        path = tmp_path / "images" / "n01440764" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (50 * number, 99, 7)).save(path)

    def passes(*words):
        code, _, err = cli(*WORDS, *words)
        assert code == 0, err
        summaries = {job.folder.name: job.summary for job in find_jobs("grid")}
        return {
            job: {name.partition("/")[2]: value for name, value in summary.items() if name.startswith("network_passes")}
            | {"maps": summary["maps_computed"]}
            for job, summary in summaries.items()
        }

    cell, whole = IMAGES * (ARMS - 1), IMAGES  # answers on features, and on images, which all sources share
    assert passes("source=one,two", "target=[one,two]") == {
        "0_one_gc": {"maps": IMAGES, "one": whole + cell, "two": whole + cell},
        "1_two_gc": {"maps": IMAGES, "one": cell, "two": cell},
    }
    assert passes("source=one,two,mine", "target=[one,two,mine]") == {
        "0_one_gc": {"maps": 0, "one": 0, "two": 0, "mine": whole + cell},
        "1_two_gc": {"maps": 0, "one": 0, "two": 0, "mine": cell},
        "2_mine_gc": {"maps": IMAGES, "one": cell, "two": cell, "mine": cell},
    }
