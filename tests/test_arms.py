"""Laws of the names of arms, and that no other module builds or reads one."""

import ast
import re
from pathlib import Path

import pytest

from harmonia import arms

NAMES = r"patch_|soft|dim|nothing|blobs|centre|area|same_class|other_class|complement|silhouette"
# what else these words are: columns of small maps and their page's, an optimiser's fact, a way to resize, a look
OTHER_MEANINGS = {
    ("results/maps.py", "soft"),
    ("export/card.py", "soft"),
    ("export/write.py", "soft"),
    ("report/page/data.py", "soft"),
    ("attribution/soundness.py", "area"),
    ("evaluation/mosaics/aggatt.py", "area"),
    ("evaluation/mosaics/localisation.py", "area"),
    ("report/page/assets/browse.js", "nothing"),
    ("report/page/assets/image.js", "nothing"),
}


@pytest.mark.parametrize(
    ("arm", "feature", "control"),
    [
        ("soft", True, "dim"),
        ("area30", True, "blobs30"),
        ("image", False, None),
        ("dim", False, None),
        ("blobs30", False, None),
        ("complement30", False, None),
        ("silhouette10", False, None),
        ("nothing", False, None),
        ("patch_area30", True, "patch_blobs30"),
        ("patch_centre30", False, None),
    ],
)
def test_features_are_soft_and_area_arms_and_have_the_control_that_shows_as_much(arm, feature, control):
    assert arms.is_feature(arm) is feature
    assert arms.is_control(arm) is (not feature and arm != "image")
    assert arms.matched_control(arm) == control


def test_what_a_name_is_made_of_is_read_from_it():
    for kind in ("area", "same_class"):
        for area in (0.01, 0.12, 0.29, 0.3, 0.57):
            arm = arms.arm_of(kind, area)
            assert (arms.kind_of(arm), arms.area_of(arm)) == (kind, area)
    assert (arms.arm_of("area", 0.3), arms.same_area("area30", "centre")) == ("area30", "centre30")
    assert (arms.kind_of("soft"), arms.area_of("soft"), arms.same_area("soft", "centre")) == ("soft", None, "centre")
    assert arms.same_area("area30", arms.NOTHING_ARM) == "nothing"
    assert [arm for arm in ("soft", "area", "area5", "blobs5", "image") if arms.is_equal_area(arm)] == ["area5"]


def test_arms_in_whole_patches_stand_beside_arms_that_are_cut_alike():
    names = ["soft", "area30", "blobs30", "centre30", "complement30", "silhouette30", "nothing"]
    cut = [arms.in_patches(arm) for arm in names]
    assert cut == [None, "patch_area30", "patch_blobs30", "patch_centre30", None, None, None]
    assert [arms.by_pixel(arm or "soft") for arm in cut[:4]] == names[:4]
    assert arms.area_of("patch_area30") == 0.3
    assert not arms.is_equal_area("patch_area30")  # what reads regions from small maps has those by pixel
    assert [arms.centred_box(arm) for arm in ("area30", "patch_area30", "soft")] == ["centre30", "patch_centre30", None]


def words_of(path: Path) -> set[str]:
    """Every text in a module, parts of f-strings and patterns among them."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_no_other_module_writes_the_name_of_an_arm_out():
    room = Path(arms.__file__).parent
    written = {
        (path.relative_to(room).as_posix(), word)
        for path in room.rglob("*.py")
        if path != room / "arms.py"
        for word in words_of(path)
        if re.fullmatch(rf"({NAMES})(\d+|\\d.*)?|.*({NAMES})\)?\\d.*", word)
    }
    for path in room.rglob("*.js"):
        words = re.findall(rf"""["'`/^]({NAMES})["'`(\d]""", path.read_text(encoding="utf-8"))
        written |= {(path.relative_to(room).as_posix(), word) for word in words}
    assert written <= OTHER_MEANINGS, "ask harmonia.arms for it"


def test_one_module_writes_the_names_of_protocols_out():
    room = Path(arms.__file__).parent
    names = {"gridpg", "difull", "dipart"}
    assert [path.name for path in room.rglob("*.py") if words_of(path) & names] == ["localisation.py"]
