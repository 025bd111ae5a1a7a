"""The page of networks as units says what its tables say."""

import re

import pandas as pd
from paths import REPOSITORY

FILES = REPOSITORY / "docs" / "networks-as-units"
PAGE = FILES.with_suffix(".md").read_text(encoding="utf-8")


def test_every_number_with_an_interval_is_one_of_the_table():
    table = pd.read_csv(FILES / "networks.csv")
    bounded = {
        tuple(f"{100 * line[name + end]:z.1f}" for end in ("", "_low", "_high"))
        for line in table.to_dict("records")
        for name in ("above_control", "above_centre", "difference")
    }
    quoted = re.findall(r"(-?\d+\.\d) \[(-?\d+\.\d), (-?\d+\.\d)\]", PAGE)
    assert len(quoted) > 10
    assert [numbers for numbers in quoted if numbers not in bounded] == []
    p_values = {f"{p:.4f}".lstrip("0") for name in ("p_orders", "p_within") for p in table[name].dropna()}
    assert {p for p in re.findall(r"\bp (\.\d{4})", PAGE)} <= p_values


# the answer's differences, in the page's order: fill, method, kinship
ANSWER = [
    ("black", "ss_cpu", "seed"),
    ("mean", "ss_cpu", "seed"),
    ("layer_mask", "ss_cpu", "seed"),
    ("black", "ss_cpu", "itself"),
    ("mean", "ss_cpu", "itself"),
    ("layer_mask", "ss_cpu", "itself"),
    ("black", "gc", "itself"),
    ("layer_mask", "gc", "itself"),
]


def test_the_answer_names_the_right_lines_of_the_table():
    table = pd.read_csv(FILES / "networks.csv")
    kin = table.query("kind == 'kinship'").set_index(["fill", "method", "what"])
    text = PAGE.partition("## The answer")[2].partition("## What is asked")[0]
    for key in ANSWER:
        low, value, high = (100 * kin.loc[key, f"difference{end}"] for end in ("_low", "", "_high"))
        _, found, text = text.partition(f"{value:.1f} [{low:.1f}, {high:.1f}]")
        assert found, key
    assert {*kin.index[kin["difference_low"] > 0]} == {*ANSWER} - {("layer_mask", "ss_cpu", "seed")}
    assert {*kin.index[(kin["p_orders"] < 0.05) & (kin["difference_low"] <= 0)]} == {
        ("black", "gc", "seed"), ("layer_mask", "gc", "seed"),
        ("layer_mask", "ss_cpu", "seed"), ("mean", "gc", "itself"),
    }  # fmt: skip
    assert {*kin.index[kin["above_centre_low"] > 0]} == {
        ("black", "ss_cpu", "itself"), ("mean", "ss_cpu", "itself"),
        ("layer_mask", "gc", "size"), ("layer_mask", "ss_cpu", "size"),
    }  # fmt: skip
    assert {*kin.index[kin["above_centre_high"] < 0]} == {
        ("black", "gc", "family"), ("mean", "gc", "family"), ("mean", "ss_cpu", "family")
    }  # fmt: skip
    alike = table.query("kind == 'likeness'").groupby(["method", "fill"])["difference_low"].min() > 0
    assert alike[~alike].index.tolist() == [("gc", "mean")]


def test_what_the_text_counts_is_counted():
    table = pd.read_csv(FILES / "networks.csv")
    alike, capacity = table.query("kind == 'likeness'"), table.query("kind == 'capacity'")
    guesses = table.query("kind == 'guesses'")
    taught_nothing = pd.concat([guesses, table[table["what"].str.contains("shuffled")]])
    outside = (capacity["difference_low"] > 0) | (capacity["difference_high"] < 0)
    counts = {
        "four p of\ntwenty-four are below .05": ((alike["p_within"] < 0.05).sum(), len(alike), (4, 24)),
        "One interval of twelve leaves out 0": (outside.sum(), len(capacity), (1, 12)),
        "Two of their twelve lines": ((guesses["above_control_low"] > 0).sum(), len(guesses), (2, 12)),
        "None of the twenty-four lines of sources that have learnt nothing": (
            (taught_nothing["above_centre_low"] > 0).sum(),
            len(taught_nothing),
            (0, 24),
        ),
    }
    for words, (count, lines, in_words) in counts.items():
        assert words in PAGE
        assert (count, lines) == in_words, words
    assert "ninety are in the tables" in PAGE
    assert table[["p_orders", "p_within"]].notna().sum().sum() == 90
    of_seeds = table.query("what == 'seed'").groupby("method")["p_within"].agg(["min", "max"]).round(4)
    assert of_seeds.to_numpy().tolist() == [[0.125, 0.6875], [0.0625, 0.5]]


def test_networks_are_as_good_as_their_fits_say():
    fits = pd.read_csv(FILES / "trained-networks.csv")
    kind = fits["network"].str.replace(r"_\d$", "", regex=True)
    for name, group in fits.groupby(kind, sort=False):
        words = name.replace("_shuffled", ", shuffled labels")
        right = ", ".join(f"{100 * accuracy:.1f}" for accuracy in group["accuracy"])
        million = f"{group['parameters'].iloc[0] / 1e6:.1f}"
        assert f"| {words} | {group['family'].iloc[0]} | {million} | {right} % |" in PAGE
    assert PAGE.count(" % |") == kind.nunique()
