"""The page of networks as units says what its table says."""

import re
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]


def test_every_number_with_an_interval_is_one_of_the_table():
    page = (ROOT / "docs" / "networks-as-units.md").read_text(encoding="utf-8")
    table = pd.read_csv(ROOT / "docs" / "networks" / "networks.csv")
    bounded = {
        tuple(f"{100 * line[name + end]:z.1f}" for end in ("", "_low", "_high"))
        for line in table.to_dict("records")
        for name in ("above_control", "above_centre", "difference")
    }
    quoted = re.findall(r"(-?\d+\.\d) \[(-?\d+\.\d), (-?\d+\.\d)\]", page)
    assert len(quoted) > 10
    assert [numbers for numbers in quoted if numbers not in bounded] == []
    p_values = {f"{p:.4f}".lstrip("0") for name in ("p_orders", "p_within") for p in table[name].dropna()}
    assert {p for p in re.findall(r"\bp (\.\d{4})", page)} <= p_values
