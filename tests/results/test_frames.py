"""What a schema of a frame lets through."""

import pandas as pd
import pytest

from harmonia.results.frames import Frame


class Cells(Frame):
    source: str  # the network explained
    images: int


class Compared(Cells):
    above: float


CELLS = pd.DataFrame({"images": [1, 2], "source": ["e7", "vit"]})


@pytest.mark.parametrize(
    "frame",
    [
        CELLS,
        CELLS.astype({"source": "category"}),
        CELLS.astype({"source": object}),
        CELLS[:0],
        pd.DataFrame(columns=["source", "images"]),
    ],
)
def test_a_frame_with_the_columns_of_its_class_is_handed_on_as_it_is(frame):
    assert Cells.checked(frame) is frame


def test_a_class_that_inherits_has_the_columns_of_both():
    assert len(Compared.checked(CELLS.assign(above=[0.5, float("nan")]))) == 2
    with pytest.raises(ValueError, match=r"Compared .* lacks \['above'\]"):
        Compared.checked(CELLS)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (CELLS.drop(columns="images"), r"lacks \['images'\]"),
        (CELLS.assign(colour="red"), r"besides \['colour'\]"),
        (CELLS.assign(source=[1, 2]), "source must hold str, got int64"),
        (CELLS.assign(images=[1.0, 2.0]), "images must hold int, got float64"),
        (CELLS.assign(images=["1", "2"]), "images must hold int"),
    ],
)
def test_another_column_or_type_is_refused_by_name(frame, why):
    with pytest.raises(ValueError, match=why):
        Cells.checked(frame)


class Retained(Frame, text="method", estimates="retention", counts="cells"):
    weights: bool


def test_columns_of_the_head_stand_in_their_order_before_the_annotated_ones():
    assert Retained.columns_of() == ["method", "retention", "retention_low", "retention_high", "cells", "weights"]
    line = ("gc", 0.5, 0.25, 0.75, 3, True)
    assert Retained.of_lines([line]).iloc[0].tolist() == list(line)
    assert Retained.of_lines([dict(zip(reversed(Retained.columns_of()), reversed(line), strict=True))])["cells"][0] == 3


def test_a_frame_without_lines_keeps_its_types_when_lines_join_it():
    full = Retained.of_lines([("gc", 0.5, 0.25, 0.75, 3, True)])
    for without in (Retained.of_lines(), Retained.checked(pd.DataFrame(columns=Retained.columns_of()))):
        assert pd.concat([without, full]).dtypes.tolist() == full.dtypes.tolist()


class Beside(Cells, others=float):
    pass


def test_columns_that_the_data_name_are_of_the_kind_said():
    assert len(Beside.checked(CELLS.assign(vit=[0.5, 1.0]))) == 2
    with pytest.raises(ValueError, match="vit must hold float"):
        Beside.checked(CELLS.assign(vit=["a", "b"]))
    with pytest.raises(ValueError, match=r"lacks \['images'\]"):
        Beside.checked(CELLS.drop(columns="images"))
