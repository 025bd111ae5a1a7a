"""Names that are quotes, newlines, HTML, dots, 255 bytes or no text go through a whole job and its report."""

import csv
import os
import unicodedata
from pathlib import Path

from PIL import Image
from rows_in_memory import read_rows

NAMES = [
    b"'quote\".png",
    b"new\nline.png",
    b"<script>alert(1)</script>.png",
    b"a..png.png",
    b"-rf.png",
    b"\xff\xfe.png",
]
NAMES += [b"x" * 251 + b".png", "ü 狗 \N{DOG FACE}.png".encode(), b"$(touch ran).png", b"a,b;c=d&e%20.png"]
NAMES += [b"=HYPERLINK(1).png", b"\x1b[31mred\x9b.png", "\u202egnp.png".encode(), b"[x](http:evil).png", b"[/red].png"]
CLASSES = ["<b onmouseover=alert(2)>dog", 'cat\'s "own"', "ow..l", "=1+A1", "\x1b]0;title\x07\u202e", "[x](evil)"]
ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # kinds of characters that act on a terminal, or are not seen


def test_hostile_names_are_data_and_nothing_else(cli, tmp_path):
    for number, name in enumerate(name.replace(b"/", b"") for name in NAMES):
        folder = tmp_path / "images" / CLASSES[number % len(CLASSES)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number, 30), (20 * number, 90, 200)).save(folder / "x.png")
        os.rename(folder / "x.png", os.fsencode(folder) + b"/" + name)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    words = ["source=timm", "source.arch=test_resnet", "source.weights=random", "source.classes=classes.txt"]
    words += [
        "source.name='[/red]\x1b[31m<i>net</i>'",
        "target=self",
        "method=gc",
        "data=folder",
        "data.root=images",
        "trainer=cpu",
    ]
    code, out, err = cli(*words, "evaluation.controls=null", "logger=csv", "hydra.run.dir=job", report=True)
    assert code == 0, out + err
    rows = read_rows(tmp_path / "job")
    assert rows["image_id"].nunique() == len(NAMES)
    assert set(rows["label"]) == set(CLASSES)
    files = [out, err, (tmp_path / "job" / "run.log").read_text(encoding="utf-8")]
    written = [path for kind in ("md", "csv", "tex", "html", "js") for path in (tmp_path / "job").rglob(f"*.{kind}")]
    files += [path.read_text(encoding="utf-8") for path in written if "assets" not in path.parts]
    for text in files:
        acting = {character for character in text if unicodedata.category(character) in ACTING} - {"\n", "\t", "\r"}
        assert not acting, text[:1000]
    assert r"[/red]\x1b[31m<i>net</i>" in out
    for path in (tmp_path / "job" / "report").glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            assert not [cell for line in csv.reader(file) for cell in line if cell.startswith("=")]
    for path in (tmp_path / "job" / "report").glob("*.md"):
        assert "](" not in path.read_text(encoding="utf-8")
    pages = list((tmp_path / "job" / "report").rglob("*.html"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for hostile in ("<script>alert(1)", "<b onmouseover", "<i>net"):
            assert hostile not in text, f"{page.name} holds {hostile} as HTML"
    assert not Path("ran").exists()
