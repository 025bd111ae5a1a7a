"""What the tables of statistics print is what their functions' frames have."""

import fnmatch
from functools import partial
from typing import get_type_hints

import pytest

from harmonia.report.tables.contrasts import STATISTICS
from harmonia.results.frames import Frame


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
