"""What the tables under docs say, and whether a text says the same."""

import re

import pandas as pd
from paths import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGE, MATRIX = (DOCS / "results.md").read_text("utf-8"), pd.read_csv(DOCS / "results" / "transfer_matrix.csv")
UNDER_FILLS, MAPS_SHARED, CONTROLS, NETWORKS, METHODS = (
    (DOCS / name).read_text("utf-8")
    for name in ("fills.md", "harmonised.md", "controls.md", "networks-as-units.md", "methods.md")
)


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def lines_of(name):
    text = (DOCS / (name if "/" in name else f"results/{name}")).with_suffix(".md").read_text("utf-8")
    return [line for line in text.splitlines() if line.startswith("|")]


def cell(name, line, column):
    """The text of a table's cell; a line is named by its first cells. Of three more tables, which are made here."""
    if name in ("rho", "rho_soft"):
        text = (DOCS / "results" / f"{name.replace('rho', 'likeness')}.md").read_text("utf-8")
        (numbers,) = re.findall(rf"^{line}, {column} and what is left .* rho (.*?), p ", text, re.MULTILINE)
        return numbers
    if name == "matrix":
        of_cell = (MATRIX[["source", "target", "method", "arm"]] == line.split("/")).all(axis=1)
        return f"{100 * MATRIX.loc[of_cell, column].item():.1f}"
    if name == "means":  # over the pairs of two trained networks
        shown = (MATRIX["source"] != MATRIX["target"]) & ~MATRIX["random_weights"]
        shown &= (MATRIX["method"] == line) & (MATRIX["arm"] == column)
        return f"{100 * MATRIX.loc[shown, 'retention'].mean():.1f}"
    head, _, *rows = map(cells, lines_of(name))
    named = line.split("/")
    (row,) = (row for row in rows if row[: len(named)] == named)
    return row[head.index(column)]


def rendered(template, *place):
    numbers = re.findall(r"-?[\d.]+", cell(*place))
    forms = {f"r{at}": f"{float(number):.0f}" for at, number in enumerate(numbers)}
    forms |= {f"m{at}": number.lstrip("-") for at, number in enumerate(numbers)}
    forms |= {f"z{at}": re.sub(r"^(-?)0\.", r"\1.", number) for at, number in enumerate(numbers)}
    return template.format(*numbers, **forms)


def without(text, claims):
    """The text less the claims, each of which must follow the one before."""
    rest, at = "", 0
    for claim in claims:
        words = rendered(*claim)
        place = text.find(words, at)
        assert place >= 0, f"{words!r} must follow {text[max(0, at - 60) : at]!r}: so has it {claim[1:]}"
        rest, at = rest + text[at:place] + " ", place + len(words)
    return rest + text[at:]


def numbers_left(page, begins, ends, claims):
    """Numbers between two places of a page that no claim holds; names that have a digit are none."""
    prose = page[page.index(begins) : page.index(ends)]
    rest = without(re.sub(r"\]\([^)]*\)", "]", " ".join(prose.split())), claims)
    rest = re.sub(r"Lite\d|MobileNetV2|Tables? \d", "", rest)
    return set(re.findall(r"(?<![\w.])-?[\d,./]*\d", rest))
