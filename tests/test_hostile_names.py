"""Names that are quotes, newlines, HTML, dots, 255 bytes or no text go through a whole job and its report."""

import os
from pathlib import Path

from PIL import Image

from harmonia.results.rows import read_rows

NAMES = [
    b"'quote\".png",
    b"new\nline.png",
    b"<script>alert(1)</script>.png",
    b"a..png.png",
    b"-rf.png",
    b"\xff\xfe.png",
]
NAMES += [b"x" * 251 + b".png", "ü 狗 \N{DOG FACE}.png".encode(), b"$(touch ran).png", b"a,b;c=d&e%20.png"]
CLASSES = ["<b onmouseover=alert(2)>dog", 'cat\'s "own"', "ow..l"]


def test_hostile_names_are_data_and_nothing_else(cli, tmp_path):
    for number, name in enumerate(name.replace(b"/", b"") for name in NAMES):
        folder = tmp_path / "images" / CLASSES[number % len(CLASSES)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + number, 30), (20 * number, 90, 200)).save(folder / "x.png")
        os.rename(folder / "x.png", os.fsencode(folder) + b"/" + name)
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    words = ["source=timm", "source.arch=test_resnet", "source.weights=random", "source.classes=classes.txt"]
    words += ["source.name='<i>net</i>'", "target=self", "method=gc", "data=folder", "data.root=images", "trainer=cpu"]
    code, out, err = cli(*words, "evaluation.controls=null", "logger=csv", "hydra.run.dir=job", report=True)
    assert code == 0, out + err
    rows = read_rows(tmp_path / "job")
    assert rows["image_id"].nunique() == len(NAMES)
    assert set(rows["label"]) == set(CLASSES)
    pages = list((tmp_path / "job" / "report").rglob("*.html"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for hostile in ("<script>alert(1)", "<b onmouseover", "<i>net"):
            assert hostile not in text, f"{page.name} holds {hostile} as HTML"
    assert not Path("ran").exists()
