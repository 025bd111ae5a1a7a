from pathlib import Path
from unicodedata import normalize

import pytest

from harmonia.data.boxes import read_boxes
from harmonia.data.folder import folder, read_class_map
from harmonia.data.text import composed, read_names, read_rows, read_text
from harmonia.errors import InputError

NAMES = "Müsli\nCrème brûlée\nPão\n"


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


READERS = {
    "classes": lambda path: read_names(path, "lite0: class file", "classes"),
    "data.class_map": read_class_map,
    "data.boxes": lambda path: read_boxes(path, {}),
    "data.labels": lambda path: folder(labels=path),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_names_are_read_with_and_without_a_byte_order_mark(tmp_path, encoding, end):
    path = written(tmp_path / "classes.txt", NAMES.replace("\n", end).encode(encoding))
    assert read_names(path, "lite0: class file", "classes") == ("Müsli", "Crème brûlée", "Pão")


def test_decomposed_names_are_composed_and_others_stay_as_they_are(tmp_path):
    path = written(tmp_path / "classes.txt", normalize("NFD", NAMES) + "a=b, c\n#1 hash\nnan\n日本語\n50%\n")
    read = ("Müsli", "Crème brûlée", "Pão", "a=b, c", "#1 hash", "nan", "日本語", "50%")
    assert read_names(path, "lite0: class file", "classes") == read
    assert composed(normalize("NFD", "Müsli")) == "Müsli"


@pytest.mark.parametrize(
    ("text", "names"),
    [("cat,dog,bird", ("cat", "dog", "bird")), ("\ncat, dog,\n", ("cat", "dog")), ("a, b\nc\n", ("a, b", "c"))],
)
def test_a_single_line_is_parted_by_commas(tmp_path, text, names):
    assert read_names(written(tmp_path / "classes.txt", text), "lite0: class file", "classes") == names


@pytest.mark.parametrize("option", READERS)
@pytest.mark.parametrize(
    ("encoding", "named"),
    [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16"), ("utf-16-be", "UTF-16"), ("latin-1", "WINDOWS-1252")],
)
def test_every_reader_says_in_one_line_how_to_convert_another_encoding(tmp_path, option, encoding, named):
    path = written(tmp_path / "text", NAMES.encode(encoding))
    with pytest.raises(InputError) as raised:
        READERS[option](path)
    message = str(raised.value)
    assert f"{path} must be text in UTF-8, it seems to be {named}" in message
    assert f"iconv -f {named} -t UTF-8 FILE > NEW" in message
    assert option in message
    assert "\n" not in message


@pytest.mark.parametrize("option", READERS)
@pytest.mark.parametrize("place", ["absent", ".", "/dev/zero"])
def test_every_reader_names_a_file_that_cannot_be_read(tmp_path, option, place):
    with pytest.raises(InputError, match=rf"cannot be read: .*; set {option}=FILE"):
        READERS[option](tmp_path / place)


def test_rows_have_the_columns_asked_for_whatever_their_order(tmp_path):
    path = written(tmp_path / "t.csv", '\ufefflabel, path ,more\n"a, b",1.png,x\n\nc,2.png\n')
    rows = list(read_rows(path, ("path", "label"), "data.labels"))
    assert rows == [(2, {"path": "1.png", "label": "a, b"}), (4, {"path": "2.png", "label": "c"})]


def test_a_table_parted_by_semicolons_is_told_its_columns(tmp_path):
    path = written(tmp_path / "t.csv", "path;label\n1.png;a\n")
    with pytest.raises(InputError, match=r"data\.labels must have the columns path,label, .* lacks path, label"):
        list(read_rows(path, ("path", "label"), "data.labels"))


def test_an_empty_file_is_an_empty_text(tmp_path):
    assert read_text(written(tmp_path / "t", ""), "class map", "data.class_map") == ""
