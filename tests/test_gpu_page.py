"""The numbers of docs/gpu.md are those of the run that it speaks of, docs/gpu/h200.jsonl."""

import json
import re

from paths import REPOSITORY

PAGE = (REPOSITORY / "docs" / "gpu.md").read_text("utf-8").partition("## Measured")[2].partition("## Measure yours")[0]
ROWS = [json.loads(line) for line in (REPOSITORY / "docs" / "gpu" / "h200.jsonl").read_text("utf-8").splitlines()]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_rates_stand_in_the_rows():
    named, network = {"ViT-B/16, 224 px": "vit_base_patch16_224", "EfficientNet-B7, 600 px": "tf_efficientnet_b7"}, ""
    lines = [cells(line) for line in PAGE.splitlines() if re.match(r"\| .*`(32-true|tf32|bf16-mixed)` \|", line)]
    lines = [line for line in lines if "not measured" not in line]
    assert len(lines) == 6
    for first, precision, *numbers in lines:
        network = named.get(first, network)
        facts: dict = {}
        for row in ROWS:
            if (row["network"], row.get("precision")) == (network, precision.strip("`")):
                facts |= row
        rates = [facts["channels_last"], facts["ours"]]
        assert numbers[:3] == [str(facts["batch"]), *(f"{rate:,.0f}" for rate in rates)]
        assert numbers[3] == f"{facts['ours_over_bare']:.2f}".lstrip("0")
        assert numbers[4:] == [str(facts["batch_with_gradients"]), f"{facts['with_gradients']:,.0f}"]


def test_jobs_stand_in_the_rows():
    lines = {line[0]: line[1:] for line in map(cells, PAGE.splitlines()) if line[0] in ("100", "1,000")}
    assert len(lines) == 2
    for images, numbers in lines.items():
        gc, ss = (
            next(row for row in ROWS if (f"{row.get('images', 0):,}", row.get("method")) == (images, method))
            for method in ("gc", "ss")
        )
        rate = {
            title.split(" ")[0] + row["method"]: of for row in (gc, ss) for title, of in row["images_per_s"].items()
        }
        assert numbers[:2] == [f"{rate['gcgc']:.0f}", f"{rate['ssss']:.1f}"]
        assert numbers[2] == f"{rate['featuresgc']:.0f} to {rate['featuresss']:.0f}"
        assert numbers[3:] == [f"{row['peak_GiB']:.3f} GiB" for row in (gc, ss)]


def test_the_compiler_stands_in_the_rows():
    printed = {tuple(cells(line)[1:]) for line in PAGE.splitlines() if line.endswith(" s |")}
    rows = [row for row in ROWS if "compiled" in row]
    assert printed == {(f"{row['compiled']:,.0f}", f"{row['gain']:.2f}", f"{row['first_s']:.0f} s") for row in rows}
