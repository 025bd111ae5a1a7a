import hashlib
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from planted_jobs import plant_scores

from harmonia.features.areas import smallest_areas
from harmonia.report.write import write_report
from harmonia.results.maps import REGION_SIDE, SmallMaps, write_small_maps
from harmonia.results.rows import row_writer, write_summary

ARMS = ["image", "soft", "area30"]
HOSTILE = "</script><script>window.hacked = 1</script>\"'\u2028&amp;<img src=x onerror=window.hacked=1>"
CLASSES = [HOSTILE, "owl", "__proto__"]
IMAGES = [f"{HOSTILE}/0.jpg", "owl/1.jpg", "__proto__/2.jpg", "owl/dog\udcff.jpg", "owl/gone.jpg"]
# an ordinary map, a constant one, a plateau, and two more
RAW = torch.stack([SLOPE := torch.linspace(-1, 1, 8).repeat(8, 1), 0 * SLOPE, (SLOPE > 0).float(), SLOPE.T, -SLOPE])
RIGHT = {"image": [1, 1, 1, 0, 1], "soft": [1, 0, 1, 0, 0], "area30": [0, 1, 0, 0, 0]}
P = {"image": [0.9, 0.8, 0.7, 0.2, 0.5], "soft": [0.8, 0.1, 0.7, 0.1, 0.45], "area30": [0.1, 0.7, 0.1, 0.1, 0.05]}


def job_columns(folder, source, method, target):
    """Five images, labels HOSTILE, owl, __proto__, owl, owl; all arms of one target."""
    labels = [HOSTILE, "owl", "__proto__", "owl", "owl"]
    columns = {name: [] for name in ("image_id", "path", "label", "arm", "predicted", "top5", "p_explained")}
    for number, (image_id, label) in enumerate(zip(IMAGES, labels, strict=True)):
        for arm in ARMS:
            wrong = "owl" if label != "owl" else "crow"
            first = label if RIGHT[arm][number] else wrong
            columns["image_id"].append(image_id)
            columns["path"].append(str(folder / f"{number}.jpg"))
            columns["label"].append(label)
            columns["arm"].append(arm)
            columns["predicted"].append(first)
            columns["top5"].append([first, "heron", HOSTILE])
            columns["p_explained"].append(P[arm][number])
    count = len(columns["arm"])
    constant = {"source": source, "method": method, "label_policy": "predicted", "fill": "black", "target": target}
    constant |= {"p_predicted": 0.5, "entropy": 1.0, "flag": ""}
    return {
        **columns,
        **{name: [value] * count for name, value in constant.items()},
        "explained": columns["label"],
        "source_predicted": columns["label"],
        "p_label": columns["p_explained"],
        "kept_area": [1.0, 0.4, 0.3] * len(IMAGES),
    }


def plant_job(run, source, method, targets, images, maps=True):
    folder = run / method
    folder.mkdir(parents=True)
    config = {"source": {"name": source}, "data": {"name": HOSTILE, "root": str(images)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with row_writer(folder) as append:
        for target in targets:
            append(job_columns(images, source, method, target))
    write_summary(folder, {})
    if maps:
        ramp = np.tile(np.linspace(0, 255, 8).astype(np.uint8), (len(IMAGES), 8, 1))  # 255 at the right edge
        boxes = np.tile(np.array([[0.25, 0, 0.75, 1]], np.float32), (len(IMAGES), 1))
        regions = smallest_areas(RAW, [0.3], 224, REGION_SIDE).numpy()
        paths = [images / f"{number}.jpg" for number in range(len(IMAGES))]
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "0" * 64 for path in paths]
        write_small_maps(folder, SmallMaps(IMAGES, ramp, regions, (30,), boxes, digests))
    return folder


@pytest.fixture(scope="session")
def jobs(tmp_path_factory):
    """A run of two jobs, one without its maps; hostile names; white images, the last of five gone."""
    run = tmp_path_factory.mktemp("run")
    images = tmp_path_factory.mktemp("images")
    for number in range(4):
        Image.new("RGB", (200, 100), "white").save(images / f"{number}.jpg")
    plant_job(run, "e7", "gc", ["e7", HOSTILE], images)
    plant_job(run, HOSTILE, "ss", ["e7"], images, maps=False)
    return run


@pytest.fixture(scope="session")
def report(jobs, tmp_path_factory):
    """The folder of that run's report, with two jobs that scored maps beside them."""
    run = tmp_path_factory.mktemp("reported") / "run"
    shutil.copytree(jobs, run)
    for number, method in enumerate(("gc", HOSTILE)):
        scores = {"deletion": [0.1 + number, (float("nan"), HOSTILE)], "irof": [0.2, 0.3 * number]}
        plant_scores(run / f"scores{number}", HOSTILE, method, scores)
    write_report(run, arm="soft")
    return run / "report"


@pytest.fixture
def hostile():
    """A name of a class, a source, a target and a data set in that report."""
    return HOSTILE


@pytest.fixture
def raw_maps():
    """The raw maps of its images, in the order of image_ids."""
    return RAW


@pytest.fixture
def image_ids():
    """The ids of that report's images."""
    return IMAGES
