import os
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmonia.data.manifest import ImageRecord, ImageSet, add_digests, choose_pool, find_images, is_image_file, select
from harmonia.draws import image_key
from harmonia.errors import InputError


def same(name: str) -> str:
    return name


def records(**sizes: int) -> tuple[ImageRecord, ...]:
    return tuple(
        ImageRecord(f"{name}/{number:03}.jpg", Path(f"{name}/{number:03}.jpg"), name, "")
        for name, size in sizes.items()
        for number in range(size)
    )


def ids(found: tuple[ImageRecord, ...]) -> list[str]:
    return [record.image_id for record in found]


def scan(root: Path, class_names=same) -> tuple[ImageRecord, ...]:
    return add_digests(find_images(root, class_names, ""))


def image_set(root: Path) -> ImageSet:
    found = scan(root)
    return ImageSet("set", found, found[:1])


def test_scan_lists_images_below_class_folders_sorted_by_id(tmp_path, tree):
    tree(tmp_path, {"b": 1, "a": 2, "a/deep/er": 1})
    records = scan(tmp_path, str.upper)
    assert ids(records) == ["a/0.png", "a/1.png", "a/deep/er/0.png", "b/0.png"]
    assert [record.class_name for record in records] == ["A", "A", "A", "B"]
    assert [record.path for record in records] == [tmp_path / record.image_id for record in records]


def test_scan_goes_by_suffix_and_passes_over_hidden_files(tmp_path):
    images = ["a.JPEG", "b.Jpg", "c.png", "d.bmp", "e.webp", "f.tif", "g.tiff", "h.gif", "i.ppm", "j.jpeg"]
    others = ["notes.txt", ".DS_Store", "._a.jpg", ".hidden/x.jpg", "jpg", "k.jpg.part"]
    for name in images + others:
        path = tmp_path / "class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("not a picture")
    (tmp_path / "class" / "folder.jpg").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "beside.jpg").write_text("no class")
    assert ids(scan(tmp_path)) == [f"class/{name}" for name in images]


def test_a_broken_file_is_listed_and_shifts_no_other(tmp_path, tree):
    before = scan(tree(tmp_path, {"a": 3, "b": 3}))
    (tmp_path / "a" / "1.png").write_bytes(b"")
    after = scan(tmp_path)
    assert ids(after) == ids(before)
    assert [old == new for old, new in zip(before, after, strict=True)] == [
        True,
        False,
        True,
        True,
        True,
        True,
    ]


def test_a_dangling_link_is_listed_without_digest(tmp_path, tree):
    tree(tmp_path, {"a": 1})
    (tmp_path / "a" / "1.png").symlink_to(tmp_path / "gone.png")
    assert [bool(record.digest) for record in scan(tmp_path)] == [True, False]


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: root.mkdir(), "one folder per class"),
        (lambda root: (root / "class").mkdir(parents=True), "must hold images"),
    ],
)
def test_a_folder_without_images_is_an_error_in_one_line(tmp_path, prepare, reason):
    prepare(tmp_path / "root")
    with pytest.raises(InputError, match=reason) as caught:
        scan(tmp_path / "root")
    assert str(tmp_path / "root") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_digest_stays_when_the_root_moves(tmp_path, tree):
    before = image_set(tree(tmp_path / "here", {"a": 2, "b": 1}))
    shutil.move(tmp_path / "here", tmp_path / "there")
    after = image_set(tmp_path / "there")
    assert (after.digest, after.pool_digest) == (before.digest, before.pool_digest)


def test_digest_changes_with_a_byte_a_label_an_id_or_the_order(tmp_path, tree):
    before = image_set(tree(tmp_path, {"a": 2, "b": 1}))
    first, *rest = before.records
    variants = [
        (replace(first, digest="0" * 64), *rest),
        (replace(first, class_name="b"), *rest),
        (replace(first, image_id="a/00.png"), *rest),
        (*rest, first),
        tuple(rest),
    ]
    assert len({before.digest, *(ImageSet("set", variant, ()).digest for variant in variants)}) == 6


def test_file_name_that_is_not_unicode_has_a_digest_and_a_key():
    record = ImageRecord("a/\udcff.jpg", Path("a/\udcff.jpg"), "a", "")
    image_set = ImageSet("set", (record,), ())
    assert len(image_set.digest) == 64
    assert image_set.image_keys([0])[0] == image_key("a/\udcff.jpg")


def test_class_names_are_sorted_and_unique_and_not_of_the_pool():
    assert ImageSet("set", records(b=2, a=1), records(c=1)).class_names == ("a", "b")


def test_select_takes_the_first_of_each_class():
    assert ids(select(records(a=3, b=1), per_class=2)) == ["a/000.jpg", "a/001.jpg", "b/000.jpg"]


def test_limit_keeps_classes_balanced():
    chosen = select(records(a=100, b=2, c=100), limit=8)
    assert Counter(record.class_name for record in chosen) == {"a": 3, "b": 2, "c": 3}
    assert ids(chosen) == sorted(ids(chosen))


def test_limit_never_exceeds_per_class():
    assert len(select(records(a=100, b=100), per_class=3, limit=50)) == 6


def test_no_limit_selects_everything():
    everything = records(a=3, b=2)
    assert select(everything) == everything


def test_pool_is_spread_evenly_over_classes():
    chosen = choose_pool(records(a=90, b=90, c=2, d=90), size=20, seed=0)
    assert Counter(record.class_name for record in chosen) == {"a": 6, "b": 6, "c": 2, "d": 6}


def test_pool_depends_on_the_seed_and_nothing_else():
    everything = records(a=50, b=50)
    chosen = choose_pool(everything, size=10, seed=0)
    assert choose_pool(everything[::-1], size=10, seed=0) == chosen
    assert choose_pool(everything, size=10, seed=1) != chosen
    assert choose_pool(everything, size=4, seed=0) == tuple(
        record for record in chosen if record in choose_pool(everything, size=4, seed=0)
    )


def test_pool_smaller_than_the_classes_favours_none():
    everything = records(a=1, b=1, c=1, d=1)
    drawn = Counter(choose_pool(everything, size=1, seed=seed)[0].class_name for seed in range(400))
    assert all(60 <= drawn[name] <= 140 for name in "abcd")  # 100 expected, deviation 8.7


def test_pool_larger_than_the_supply_takes_all_and_zero_takes_none():
    everything = records(a=2, b=1)
    assert choose_pool(everything, size=99, seed=0) == everything
    assert choose_pool(everything, size=0, seed=0) == ()


# --- properties ---------------------------------------------------------------------------------

# what a file system takes: quotes, newlines, HTML, dots, bytes that are no text; no slash and no zero
_BYTES = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [b"..", b"'\"`", b"a\nb", b"<img src=x onerror=alert(1)>", b"\xff\xfe", b"-rf", b"$(x)", b"x" * 250]
    ),
)
NAMES = _BYTES.map(lambda name: name.replace(b"/", b"").replace(b"\0", b"")).filter(
    lambda name: name.strip(b".") != b""
)
FIELDS = st.tuples(st.text(), st.text(), st.text(alphabet="0123456789abcdef", max_size=64))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=5))
@pytest.mark.slow
def test_any_name_that_a_file_system_takes_is_listed_once_under_an_id_that_leads_to_it(names):
    with tempfile.TemporaryDirectory() as folder:
        expected = set()
        for class_name, name in names:
            path = Path(folder, os.fsdecode(b"c" + class_name), os.fsdecode(name + b".png"))
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(name)
            if is_image_file(path):  # a name with a leading dot is hidden
                expected.add(path)
        if not expected:
            return
        records = scan(Path(folder))
        assert {record.path for record in records} == expected
        assert all(Path(folder, record.image_id) == record.path for record in records)
        assert len(set(ids(records))) == len(records)
        hostile = ImageSet("hostile", records, ())
        assert len(set(hostile.image_keys(range(len(records))))) == len(records)
        assert len(hostile.digest) == 64


@given(st.lists(FIELDS, max_size=4), st.lists(FIELDS, max_size=4))
def test_data_sets_share_a_digest_exactly_if_ids_labels_bytes_and_order_are_the_same(first, second):
    def digest(fields) -> str:
        made = tuple(ImageRecord(image_id, Path("x"), label, sha) for image_id, label, sha in fields)
        return ImageSet("set", (), tuple({record.image_id: record for record in made}.values())).pool_digest

    def unique(fields):
        return list({field[0]: field for field in fields}.values())

    assert (digest(first) == digest(second)) == (unique(first) == unique(second))


@given(st.dictionaries(st.sampled_from("abcde"), st.integers(1, 6), min_size=1), st.integers(1, 8), st.integers(1, 30))
def test_a_selection_is_as_large_and_as_balanced_as_it_can_be(sizes, per_class, limit):
    found = records(**sizes)
    chosen = select(found, per_class, limit)
    counts = Counter(record.class_name for record in chosen)
    assert len(chosen) == min(limit, sum(min(per_class, size) for size in sizes.values()))
    assert all(count <= per_class for count in counts.values())
    assert ids(chosen) == sorted(ids(chosen))
    most = max(counts.values())
    assert all(counts[name] >= min(most - 1, sizes[name]) for name in sizes)
