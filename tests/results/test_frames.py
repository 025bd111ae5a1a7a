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
