"""Controls that know no map are answered once for all that explain in one view, and change no bit of the rows."""

from dataclasses import replace

import numpy as np
import pytest
from networks import write_yamls
from PIL import Image
from rows_in_memory import read_rows

from harmonia.features.arms import KeepArms
from harmonia.results.rows import read_summary

IMAGES = 5
CLASSES = ["n01440764", "n02102040"]
NAMED = {"one": "test_resnet", "two": "test_byobnet", "patched": "test_vit"}
WORDS = ["data=folder", "data.root=images", "trainer=cpu", "logger=none", "num_threads=1", "method=gc"]
WORDS += ["evaluation.areas=[0.3]", "hydra.searchpath=[file://conf]", "hydra.run.dir=job"]
OF_NO_MAP = ["blobs30", "centre30", "nothing"]


@pytest.fixture
def run(cli, tmp_path):
    """Passes of the target in a job of these words, and its rows."""
    write_yamls(tmp_path / "conf", NAMED)
    for number in range(IMAGES):
        path = tmp_path / "images" / CLASSES[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (40, 30 + number, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)

    def of(*words, target="patched"):
        code, _, err = cli(*WORDS, f"target=[{target}]", *words)
        assert code == 0, err
        return read_summary("job")[f"network_passes/{target}"], read_rows(tmp_path / "job")

    return of


@pytest.mark.parametrize(
    "words",
    [
        ["fill=black", "evaluation.controls.nothing=true", "evaluation.patch_borders=true"],
        ["fill=another_image", "data.pool_size=5"],
        pytest.param(["fill=drop_tokens", "label=true"], marks=pytest.mark.slow),
    ],
    ids=["in patches", "another image", "dropped"],
)
def test_rows_are_those_of_all_arms_together(run, monkeypatch, words):
    apart = run("source=one", "paths.cache=apart", *words)[1]
    monkeypatch.setattr(KeepArms, "of_map", lambda arms: arms)
    monkeypatch.setattr(KeepArms, "of_no_map", lambda arms: replace(arms, areas=(), controls=(), soft_arm=False))
    together = run("source=one", "paths.cache=together", *words)[1]
    assert apart["arm"].isin(OF_NO_MAP).any()
    assert apart.equals(together)


def test_another_method_source_and_label_of_the_same_view_share_them(run):
    first, rows = run("source=one", "evaluation.controls.nothing=true")
    assert first == len(rows) - IMAGES + 1  # nothing is one black picture of all images
    for words in (["source=one", "method=layercam"], ["source=two"], ["source=one", "label=true"]):
        passes, rows = run("evaluation.controls.nothing=true", *words)
        assert set(OF_NO_MAP) < set(rows["arm"])
        assert passes == (~rows["arm"].isin(["image", *OF_NO_MAP])).sum(), words


def test_what_changes_their_numbers_parts_them(run):
    run("source=one")
    shared = run("source=two")[0]
    for words in (["source.crop_pct=0.5"], ["seed=1"], ["data.limit=4"], ["fill=mean"], ["source.input_size=96"]):
        passes, rows = run("source=two", *words)
        assert passes >= (rows["arm"].isin(OF_NO_MAP)).sum() + rows["arm"].eq("soft").sum(), words
    assert shared == run("source=one", "method=layercam", "paths.cache=elsewhere")[0] - IMAGES * 3


def test_a_replacement_is_of_another_class_than_each_source_explains(run):
    words = ["fill=another_image", "data.pool_size=5"]
    first = run("source=one", *words)[0]
    assert run("source=one", "method=layercam", *words)[0] == first - IMAGES * 3  # image, blobs30, centre30
    assert run("source=two", *words)[0] == first - IMAGES  # of images alone
