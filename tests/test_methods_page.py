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
    pairs = pairs.query("first_target == 'others' and first_arm == 'area30' and first_method == 'ss'")
    differences = {}
    for line in pairs.to_dict("records"):
        low, value, high = (100 * float(line[f"retention_difference{end}"]) for end in ("_low", "", "_high"))
        name = f"{line['second_method']} {line['second_variant']}".strip()
        differences[line["source"], name] = f"{value:.1f} [{low:.1f}, {high:.1f}]"
    lines = [cells(line) for line in METHODS.partition("| above |")[2].partition("\n\n")[0].splitlines()[2:]]
    rising = sorted(NAMES, key=lambda name: float(differences["lite0", NAMES[name]].split()[0]))
    assert [line[0] for line in lines] == rising
    for name, *shown in lines:
        printed = [re.sub(": not told$", "", text) for text in shown]
        assert printed == [differences.get((source, NAMES[name]), "") for source in ("lite0", "deit_tiny")]
