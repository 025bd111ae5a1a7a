"""docs/methods.md says what its tables say of Soundness Saliency beside each other method."""

import re

import pandas as pd
from paths import REPOSITORY
from result_tables import METHODS, cells

NAMES = {
    "Ablation-CAM": "ablcam", "Layer-CAM": "layercam", "Grad-CAM": "gc", "Score-CAM": "scorecam", "RISE": "rise",
    "LiMA": "lima", "occlusion": "occ", "integrated gradients, smoothed over 65 pixels": "ig smooth.k=65",
    "integrated gradients, smoothed over 33 pixels": "ig smooth.k=33",
}  # fmt: skip


def test_each_difference_is_the_tables():
    pairs = pd.read_csv(REPOSITORY / "docs" / "methods" / "methods.csv", keep_default_na=False)
    pairs = pairs[
        (pairs["first_target"] == "others") & (pairs["first_arm"] == "area30") & (pairs["first_method"] == "ss")
    ]
    other = (pairs["second_method"] + " " + pairs["second_variant"]).str.strip()
    differences = {
        (source, name): "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * float(bound) for bound in bounds))
        for source, name, *bounds in zip(
            pairs["source"],
            methods,
            *(pairs[f"retention_difference{end}"] for end in ("", "_low", "_high")),
            strict=True,
        )
    }
    lines = [cells(line) for line in METHODS.partition("| above |")[2].partition("\n\n")[0].splitlines()[2:]]
    assert [line[0] for line in lines] == [
        *sorted(NAMES, key=lambda name: float(differences["lite0", NAMES[name]].split()[0]))
    ]
    for name, *shown in lines:
        printed = [re.sub(": not told$", "", text) for text in shown]
        assert printed == [differences.get((source, NAMES[name]), "") for source in ("lite0", "deit_tiny")]
