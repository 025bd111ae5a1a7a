"""A job whose fill puts nothing where it drops: who can, answers without; another network on black; rows say which."""

import pandas as pd
import pytest
from rows_in_memory import read_rows

pytestmark = pytest.mark.usefixtures("needs_samples")

WORDS = ["data=samples", "data.limit=3", "source=lite0", "source.input_size=96", "method=gc", "logger=none"]
WORDS += ["trainer=cpu", "evaluation.areas=[0.3]", "target=[self,vit]", "target.vit.arch=test_vit"]
WORDS += ["target.vit.weights=random", "target.vit.family=vit"]


def test_each_target_is_shown_what_it_takes_and_rows_say_what(cli, tmp_path):
    for fill in ("drop_tokens", "black", "layer_mask"):
        code, _, err = cli(*WORDS, f"fill={fill}", f"hydra.run.dir={fill}")
        assert code == 0, err
    dropped, black = (read_rows(tmp_path / fill) for fill in ("drop_tokens", "black"))
    fills = dropped.groupby("target")["fill"].unique().map(list).to_dict()
    assert fills == {"lite0": ["black"], "vit": ["drop_tokens"]}
    masked = read_rows(tmp_path / "layer_mask")
    assert masked.groupby("target")["fill"].unique().map(list).to_dict() == {"lite0": ["layer_mask"], "vit": ["black"]}
    assert "dim" not in set(masked.loc[masked["target"] == "lite0", "arm"])
    # the network without patches: the rows of fill=black, from the store
    of_lite0 = [rows[rows["target"] == "lite0"].reset_index(drop=True) for rows in (dropped, black)]
    pd.testing.assert_frame_equal(*of_lite0)
    vit, painted = (rows[rows["target"] == "vit"].set_index(["image_id", "arm"]) for rows in (dropped, black))
    lite0 = masked[masked["target"] == "lite0"].set_index(["image_id", "arm"])
    assert lite0.xs("area30", level="arm")["kept_area"].tolist() == pytest.approx([0.3] * 3, abs=1e-3)
    on_black = of_lite0[1].set_index(["image_id", "arm"])["p_predicted"]
    assert (lite0["p_predicted"] != on_black.loc[lite0.index]).any()
    whole = vit.xs("image", level="arm")
    assert whole["p_predicted"].equals(painted.xs("image", level="arm")["p_predicted"])
    for arm in ("area30", "blobs30", "centre30"):
        of_arm = vit.xs(arm, level="arm")
        patches = of_arm["kept_area"] * 100  # test_vit has ten rows of ten patches
        assert (patches - patches.round()).abs().max() < 1e-4
        assert (of_arm["kept_area"] - 0.3).abs().max() < 0.1
        assert (of_arm["p_predicted"] != painted.xs(arm, level="arm")["p_predicted"]).all()
