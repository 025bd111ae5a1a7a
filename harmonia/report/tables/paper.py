"""What M. A. Kadir, G. Addluri, D. Sonntag 2023 (https://arxiv.org/abs/2307.02150) print in Tables 1 and 2.

Copied digit by digit, so that a printed 78.4 is not shown as 78.40. F is the soft feature on a black ground; F1 is
printed without naming its average. Accuracies are multiples of 1/3929, the size of Imagewoof's validation set.
"""

from harmonia.arms import IMAGE_ARM, SOFT_ARM
from harmonia.report.tables.typeset import DAGGER, DOUBLE_DAGGER, MISSING

METHODS = {"ss": "ss", "ss_paper": "ss", "ss_faithful": "ss", "gc": "gc"}  # the paper's by this project's

# by source, method, target: accuracy (I) and (F), F1 (I) and (F), marked where the paper contradicts itself
_TABLES = {
    ("e7", "ss", "e7"): (f"78.4{DAGGER}", "74.09", ".87", ".84"),
    ("e7", "ss", "e6"): ("75.90", "73.61", ".85", ".84"),
    ("e7", "ss", "e5"): ("77.27", "73.76", ".86", ".84"),
    ("e7", "gc", "e7"): (f"78.47{DAGGER}", "58.87", ".87", ".72"),
    ("e7", "gc", "e6"): ("75.90", "55.74", ".85", ".70"),
    ("e7", "gc", "e5"): ("77.27", "57.24", ".86", ".71"),
    ("vit", "ss", "vit"): ("89.92", "88.83", ".94", ".94"),
    ("vit", "ss", "e6"): ("75.90", "71.90", ".85", ".83"),
    ("vit", "ss", "e5"): ("77.27", "73.10", ".86", ".83"),
    ("vit", "gc", "vit"): ("89.92", "58.56", f".87{DOUBLE_DAGGER}", ".73"),
    ("vit", "gc", "e6"): ("75.90", "44.21", ".85", ".60"),
    ("vit", "gc", "e5"): ("77.27", "43.47", ".86", ".58"),
}

FOOTNOTES = {
    DAGGER: f"{DAGGER} The paper contradicts itself: it prints 78.4 % under SS and 78.47 % under GC for one network "
    "on the same whole images.",
    DOUBLE_DAGGER: f"{DOUBLE_DAGGER} The paper contradicts itself: it prints an F1 of .87 here and .94 under SS for "
    "one network on the same whole images; 89.92 % accuracy goes with about .95.",
}

ORIGIN = (
    "Printed: Kadir, Addluri, Sonntag 2023, most likely on the 3,929 validation images of Imagewoof, features on "
    "black; what ran here stands above the table."
)


def paper_numbers(source: str, method: str, target: str, arm: str) -> tuple[str, ...]:
    """Accuracy and F1 as the paper prints them, with their marks."""
    numbers = _TABLES.get((source, METHODS.get(method, ""), target))
    if numbers is None or arm not in (IMAGE_ARM, SOFT_ARM):
        return MISSING, MISSING
    return numbers[arm == SOFT_ARM :: 2]
