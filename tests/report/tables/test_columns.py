"""What the tables of statistics print is what their functions' frames have."""

import fnmatch
from functools import partial
from pathlib import Path
from typing import get_type_hints

import pandas as pd
import pytest
from rows_in_memory import as_gathered

from harmonia.report.glossary import full_names
from harmonia.report.tables.columns import bounded, statistic_table
from harmonia.report.tables.contrasts import STATISTICS
from harmonia.report.tables.typeset import table
from harmonia.results.frames import Frame
from harmonia.results.jobs import JobFolder
from harmonia.statistics.comparison import compare


@pytest.mark.parametrize("statistic", STATISTICS, ids=lambda statistic: statistic.stem)
def test_every_column_that_is_printed_is_one_of_the_frame(statistic):
    frame_of = statistic.frame_of.func if isinstance(statistic.frame_of, partial) else statistic.frame_of
    frame = get_type_hints(frame_of)["return"]
    assert issubclass(frame, Frame)
    columns = frame.columns_of()
    labels = {f"{side}{label}" for side, label in [("", "method_label"), ("first_", "label"), ("second_", "label")]}
    labels |= {"first_cell", "second_cell"}  # columns._labelled makes them
    assert set(statistic.texts.split()) <= {*columns, *labels}
    if statistic.printed_of_arm:
        assert statistic.printed_of_arm in columns
    assert all(fnmatch.filter(columns, name) for name in statistic.numbers.split())


@pytest.mark.usefixtures("few_resamples")
def test_classes_go_by_their_names_and_keep_their_ids_where_two_are_called_alike(gathered_cell):
    labels = ["n02086240", "n02012849", "n03126707", "own"]  # two cranes
    (comparison,) = compare(as_gathered(*(gathered_cell("1111", labels, arm=arm) for arm in ("image", "soft"))))
    (classes,) = (statistic for statistic in STATISTICS if statistic.stem == "classes")
    table = statistic_table(classes, [comparison], "soft")
    assert table.printed["Class"].tolist() == ["Shih-Tzu", "crane (n02012849)", "crane (n03126707)", "own"]
    assert table.numbers["label"].tolist() == labels
    assert table.printed.attrs["views"][0, 3] == {
        "source": "e7", "method": "gc", "target": "e6", "arm": "soft", "class": "n02086240",
        "setting": "woof, fill black, label predicted",
    }  # fmt: skip


def test_methods_have_their_full_names_and_two_of_a_class_their_short_ones_too():
    kinds = {"gc": "GradCAM", "ss": "SoundnessSaliency", "ss_cpu": "SoundnessSaliency", "x": "Mine", "lime": "Stored"}
    jobs = [JobFolder(Path("0"), {"method": {"name": name, "_target_": f"a.{kind}"}}) for name, kind in kinds.items()]
    assert full_names(jobs) == {
        "gc": "Grad-CAM",
        "ss": "Soundness Saliency (SS)",
        "ss_cpu": "Soundness Saliency (SS_CPU)",
        "x": "Mine",
        "lime": "LIME",
    }


def test_a_number_that_rounds_to_nothing_has_no_sign():
    frame = pd.DataFrame({"gained": [-0.0004], "gained_low": [-0.1], "gained_high": [-0.0001]})
    assert bounded(frame, "gained") == ["0.0 [-10.0, 0.0]"]
    assert bounded(frame, "gained", "{:z.2f}", 1) == ["0.00 [-0.10, 0.00]"]


def test_what_is_behind_cells_is_not_copied_with_every_line_that_is_taken():
    printed = table(pd.DataFrame({"Source": ["lite0"]}), "", 1, views={(0, 0): {"source": "lite0"}})
    assert printed.iloc[:1].attrs["views"] is printed.attrs["views"]
