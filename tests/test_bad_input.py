"""Bad input by name: one line that names it, exit code 2, no traceback, and what is stored stays as it was."""

import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from harmonia.report import __main__ as report
from harmonia.results.rows import read_summary
from harmonia.store import __main__ as store
from harmonia.store.sets import ShardSet

SMALL = ["source=timm", "source.arch=test_resnet", "source.weights=random", "target=self", "method=gc", "data=folder"]
SMALL += ["data.root=images", "evaluation.controls=null", "evaluation.areas=[0.3]", "trainer=cpu", "logger=none"]
SMALL += ["source.input_size=64"]
DELETION, BOXES = ["evaluation=deletion"], ["evaluation=boxes"]
SAFE, PTH = ["source.weights=w.safetensors"], ["source.weights=w.pth"]
TWINS = ["target=[self,lite0]", "target.lite0.name=test_resnet", "target.lite0.weights=random"]
CLASSES = ("n01440764", "n02102040")


class Code:
    """Leaves a file called ran when it is unpickled."""

    def __reduce__(self):
        return (open, ("ran", "w"))


def images(folder: Path, names=CLASSES) -> Path:
    for number, name in enumerate(names):
        for copy in range(2):
            path = folder / name / f"{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 30), (60 * number, 99, 50 * copy)).save(path)
    return folder


def text(name: str, content: str | bytes):
    def write() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def boxes(line: str):
    return text("b.csv", f"path,class_index,x0,y0,x1,y1\n{line}\n")


def every_image_broken() -> None:
    for path in images(Path("bad")).rglob("*.png"):
        path.write_bytes(b"no image")


def one_image_broken() -> None:
    sorted(images(Path("bad")).rglob("*.png"))[0].write_bytes(b"")


def dangling_link() -> None:
    images(Path("bad"))
    Path("bad", CLASSES[0], "gone.png").symlink_to("nowhere.png")


def huge_image() -> None:
    images(Path("bad"))
    header = b"P6 200000 200000 255\n"
    Path("bad", CLASSES[0], "0.ppm").write_bytes(header)


def strip() -> None:
    images(Path("bad"))
    Image.new("L", (25_000, 1)).save(Path("bad", CLASSES[0], "0.png"))


def unknown_classes() -> None:
    images(Path("bad"), ("dog", "cat"))


@cache
def network() -> torch.nn.Module:
    import timm

    return timm.create_model("test_resnet")


def state(**changes: torch.Tensor) -> dict[str, torch.Tensor]:
    return network().state_dict() | changes


def weights(name: str, content=None, **changes):
    def write() -> None:
        tensors = state(**changes) if content is None else content
        save_file(tensors, name) if name.endswith("safetensors") else torch.save(tensors, name)

    return write


def cut_weights() -> None:
    weights("w.safetensors")()
    Path("w.safetensors").write_bytes(Path("w.safetensors").read_bytes()[:-100])


def no_numbers() -> None:
    save_file(
        {name: value * torch.nan if value.is_floating_point() else value for name, value in state().items()},
        "w.safetensors",
    )


def job(**files: bytes):
    """A report folder with one job of these files."""

    def write() -> None:
        for name, content in {"config": b"source: {name: a}\n", **files}.items():
            suffix = {"config": "yaml", "summary": "json"}.get(name, "parquet")
            text(f"run/0_a/{name}.{suffix}", content)()

    return write


def nothing() -> None:
    pass


def stored() -> None:
    """A store of one set, complete."""
    maps = ShardSet.open(Path("full"), "maps", "toy", {"of": "toy"}, 2, 2)
    maps.write(0, {"maps": np.zeros((2, 3, 3), np.float16)}, [{"flag": ""}] * 2)
    maps.finish()


def of_another_shape(path: Path) -> None:
    """Its arrays cut by a column, its metadata as they were."""
    with safe_open(path, "pt") as file:
        arrays, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    cut = {name: array[..., :-1].contiguous() if array.ndim == 3 else array for name, array in arrays.items()}
    assert {name: array.shape for name, array in cut.items()} != {name: array.shape for name, array in arrays.items()}
    save_file(cut, path, metadata)


RUN = [
    # --- configuration
    ("a group's option misspelt", nothing, ["method=gradcam"], "method must be one of"),
    ("a key misspelt", nothing, ["batchsize=3"], "no key 'batchsize'"),
    ("grammar", nothing, ["source.name=[a"], "Hydra's grammar"),
    ("a sweep without -m", nothing, ["seed=1,2"], "-m"),
    ("a seed below zero", nothing, ["seed=-1"], "seed must be at least 0"),
    ("text for a number", nothing, ["store.shard_size=many"], "store.shard_size must be a whole number"),
    ("a number of 5,000 digits", nothing, [f"seed={'9' * 5000}"], "4300 digits"),
    ("more devices than fit a list", nothing, [f"trainer.devices={2**40}"], "a job uses one device, got 1099511627776"),
    ("an input as large as a wall", nothing, ["source.input_size=100000"], "source.input_size must be at most 2048"),
    ("a view of nearly nothing", nothing, ["source.crop_pct=1e-6"], "source.crop_pct must be at least 0.01"),
    ("more threads than OpenMP bears", nothing, ["num_threads=100000"], "num_threads must be at most 1024"),
    ("no batch", nothing, ["batch_size=0"], "batch_size"),
    ("infinity", nothing, ["store.spool_gb=inf"], "at most 1000000"),
    ("an area beyond the image", nothing, ["evaluation.areas=[1.5]"], "evaluation.areas"),
    ("an area twice", nothing, ["evaluation.areas=[0.3,0.3]"], "must differ"),
    ("a reading of maps that does not exist", nothing, ["evaluation.normalise=max"], "evaluation.normalise"),
    ("a precision that does not exist", nothing, ["trainer.precision=8"], "trainer.precision"),
    ("two devices", nothing, ["trainer.devices=2"], "hydra/launcher=ray"),
    ("data parallel", nothing, ["trainer.devices=2", "trainer.strategy=ddp"], "hydra/launcher=ray"),
    ("an accelerator that does not exist", nothing, ["trainer.accelerator=abacus"], "trainer"),
    ("no target", nothing, ["target=[]"], "target must name at least one"),
    ("two models of one name", nothing, TWINS, "two different models"),
    ("an architecture that does not exist", nothing, ["source.arch=resnot18"], "did you mean"),
    ("a tag that does not exist", nothing, ["source.arch=resnet18.nonsense"], "nonsense"),
    ("a layer that does not exist", nothing, ["method.layer=attic"], "'attic'"),
    ("a fill beyond reason", nothing, ["fill=blur", "fill.sigma=7"], "fill.sigma"),
    ("a mask grid of no cells", nothing, ["method=ss", "method.grid=0"], "method.grid"),
    ("no step", nothing, ["method=ss", "method.steps=0"], "method.steps"),
    ("a crop beyond the image", nothing, ["crop_pct=3"], "crop_pct"),
    # --- images
    ("a folder that is not there", nothing, ["data.root=nowhere"], "does not exist"),
    ("a file for a folder", text("bad", ""), ["data.root=bad"], "is a file"),
    ("an empty folder", lambda: Path("bad").mkdir(), ["data.root=bad"], "one folder per class"),
    ("class folders without an image", text("bad/dog/readme.txt", ""), ["data.root=bad"], "must hold images"),
    ("every image broken", every_image_broken, ["data.root=bad"], "no image"),
    ("an empty image, where that is fatal", one_image_broken, ["data.root=bad", "unreadable=fail"], "it is empty"),
    ("a dangling link, where that is fatal", dangling_link, ["data.root=bad", "unreadable=fail"], "gone.png"),
    ("a strip of pixels, where that is fatal", strip, ["data.root=bad", "unreadable=fail"], "25000 x 1"),
    ("a decompression bomb, where that is fatal", huge_image, ["data.root=bad", "unreadable=fail"], "0.ppm"),
    ("a split that is not there", nothing, ["data.split=exam"], "split folder"),
    ("a pool without an image", lambda: Path("bad").mkdir(), ["data.pool=bad", "fill=another_image"], "pool folder"),
    # --- labels
    ("classes that no model knows", unknown_classes, ["data.root=bad"], "knows no class"),
    ("a class map that is not there", nothing, ["data.class_map=nowhere.csv"], "class_map: nowhere.csv does not exist"),
    ("a class map in another encoding", text("m.csv", b"\xff\xfe\x00"), ["data.class_map=m.csv"], "UTF-8"),
    ("a class map with a third column", text("m.csv", "a,b,c\n"), ["data.class_map=m.csv"], "line 1"),
    ("a class map that lacks a folder", text("m.csv", "dog,n02102040\n"), ["data.class_map=m.csv"], "lacks it"),
    ("a label policy that does not exist", nothing, ["label=best"], "label must be one of"),
    ("class names for another head", text("c.txt", "dog\ncat\n"), ["source.classes=c.txt", *SAFE], "got 2; edit it"),
    ("classes in another encoding", text("c.txt", "dog\ncat\n".encode("utf-16")), ["source.classes=c.txt"], "iconv"),
    ("labels without a header", text("l.csv", "0.png,dog\n"), ["data.labels=l.csv"], "lacks path, label"),
    ("labels beside a split", text("l.csv", "path,label\n"), ["data.labels=l.csv", "data.split=val"], "leave out one"),
    ("an image labelled twice", text("l.csv", "path,label\na,b\na,c\n"), ["data.labels=l.csv"], "line 3"),
    ("class names twice", text("c.txt", "dog\ndog\n"), ["source.classes=c.txt"], "twice"),
    # --- weights
    ("weights that are not there", nothing, ["source.weights=nowhere.pth"], "does not exist"),
    ("weights of another kind of file", text("w.h5", ""), ["source.weights=w.h5"], "must end in"),
    ("weights that carry code", text("w.pth", pickle.dumps(Code())), PTH, "plain tensors"),
    ("code beside tensors", weights("w.pth", {"a": torch.ones(1), "b": Code()}), PTH, "plain tensors"),
    ("code under a safe name", text("w.safetensors", pickle.dumps(Code())), SAFE, "plain tensors"),
    ("weights cut short", cut_weights, SAFE, "readable weights file"),
    ("weights that are a page of the web", text("w.pth", "<!DOCTYPE html>"), PTH, "readable weights"),
    ("weights of another architecture", weights("w.safetensors", {"fc": torch.ones(3, 2)}), SAFE, "does not fit"),
    ("weights with a tensor too many", weights("w.safetensors", extra=torch.ones(1)), SAFE, "1 unexpected"),
    ("weights that are no numbers", no_numbers, SAFE, "finite"),
    # --- stores
    ("a file for a cache", text("cache", ""), ["paths.cache=cache"], "cache"),
    ("a cache where nothing can be made", nothing, ["paths.cache=/proc/harmonia"], "paths.cache="),
    ("a job's folder where nothing can be made", nothing, ["hydra.run.dir=/proc/harmonia"], "hydra.run.dir="),
]  # fmt: skip

SCORING = [
    ("a metric's option misspelt", nothing, [*DELETION, "+evaluation.metric.step=3"], "has no option 'step'"),
    ("no step of a metric", nothing, [*DELETION, "evaluation.metric.steps=0"], "evaluation.metric.steps"),
    ("text for a metric's number", nothing, [*DELETION, "evaluation.metric.steps=all"], "must be a whole number"),
    ("a metric that does not exist", nothing, ["evaluation=auc"], "evaluation must be one of"),
    ("boxes that are asked for and not there", nothing, BOXES, "data.boxes=FILE"),
    ("a file of boxes that is not there", nothing, [*BOXES, "data.boxes=none.csv"], "none.csv does not exist"),
    ("a file of boxes in another form", text("b.csv", "file,x,y\n"), [*BOXES, "data.boxes=b.csv"], "lacks path"),
    ("boxes of other images", boxes("z.png,0,0,0,1,1"), [*BOXES, "data.boxes=b.csv"], "names none of them"),
    ("a box inside out", boxes(f"{CLASSES[0]}/0.png,0,9,0,1,1"), [*BOXES, "data.boxes=b.csv"], "x0 < x1"),
    ("a box beyond its image", boxes(f"{CLASSES[0]}/0.png,0,0,0,99,9"), [*BOXES, "data.boxes=b.csv"], "stored file"),
]  # fmt: skip

REPORT = [
    ("a report of nowhere", nothing, ["run=nowhere"], "must be an existing folder"),
    ("a report of a file", text("file", ""), ["run=file"], "must be a folder"),
    ("a report without its argument", nothing, [], "argument run must be given"),
    ("an argument misspelt", nothing, ["rnu=run"], "did you mean 'run'"),
]

STORE = [
    ("verifying nothing", nothing, ["verify", "--cache", "nowhere"], "must be a folder"),
    ("listing a file", text("file", ""), ["list", "--cache", "file"], "must be a folder"),
    ("pruning a set that is not there", stored, ["prune", "--cache", "full", "--set", "x"], "x"),
]


DAMAGED = [
    ("a configuration that is no YAML", job(config=b"\x00: ["), "YAML"),
    ("rows that are no Parquet", job(rows=b"PAR1", summary=b"{}"), "Parquet"),
    ("rows that carry code", job(rows=pickle.dumps(Code()), summary=b"{}"), "Parquet"),
    ("cells that are no Parquet", job(localisation=b"PAR1", summary=b"{}"), "Parquet"),
    ("cells that carry code", job(localisation=pickle.dumps(Code()), summary=b"{}"), "Parquet"),
    ("scores that are no Parquet", job(scores=b"PAR1", summary=b"{}"), "Parquet"),
    ("scores that carry code", job(scores=pickle.dumps(Code()), summary=b"{}"), "Parquet"),
    ("a summary that is no JSON", job(rows=b"", summary=b"{"), "JSON"),
    ("a summary that is a list", job(rows=b"", summary=b"[]"), "JSON object"),
]


def named(cases, *names):
    return pytest.mark.parametrize(names, [case[1:] for case in cases], ids=[case[0] for case in cases])


def one_line(code: int, out: str, err: str, part: str) -> None:
    assert code == 2, out + err
    assert "Traceback" not in out + err
    (line,) = err.splitlines()
    assert line.startswith("harmonia: ")
    assert part in line
    assert not Path("ran").exists(), "code in a file was run"


def contents(folder: Path) -> dict[str, bytes]:
    ours = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path): path.read_bytes() for path in ours}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A store with a finished job, and that job's folder."""
    return tmp_path_factory.mktemp("finished")


@named(RUN, "prepare", "words", "part")
def test_run_refuses_in_one_line_and_hurts_nothing(cli, tmp_path, finished, monkeypatch, prepare, words, part):
    monkeypatch.setenv("HARMONIA_CACHE", str(finished / "cache"))
    images(tmp_path / "images")
    weights("w.safetensors")()
    if not (finished / "job").exists():
        code, _, err = cli(*SMALL, f"hydra.run.dir={finished / 'job'}")
        assert code == 0, err
    before = contents(finished)
    prepare()
    one_line(*cli(*SMALL, "hydra.run.dir=refused", *words), part)
    assert {path: content for path, content in contents(finished).items() if path in before} == before


@named(SCORING, "prepare", "words", "part")
def test_a_job_that_scores_maps_refuses_in_one_line_and_hurts_nothing(
    cli, tmp_path, finished, monkeypatch, prepare, words, part
):
    monkeypatch.setenv("HARMONIA_CACHE", str(finished / "cache"))
    images(tmp_path / "images")
    plain = [word for word in SMALL if not word.startswith("evaluation.")]
    if not (finished / "scored").exists():
        scored = [*plain, *DELETION, "evaluation.metric.steps=2", f"hydra.run.dir={finished / 'scored'}"]
        code, _, err = cli(*scored)
        assert code == 0, err
        assert list(finished.glob("cache/scores/*/shard-*"))
    before = contents(finished)
    prepare()
    one_line(*cli(*plain, "hydra.run.dir=refused", *words), part)
    assert {path: content for path, content in contents(finished).items() if path in before} == before


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.write_bytes(pickle.dumps(Code())), of_another_shape],
    ids=["a pickle", "maps of another shape"],
)
def test_a_stored_map_that_is_bad_is_named_and_computed_again_and_never_read(cli, tmp_path, capfd, damage):
    images(tmp_path / "images")
    words = [*SMALL, "store.shard_size=2", "hydra.run.dir=job"]
    assert cli(*words)[0] == 0
    first, second = sorted(tmp_path.glob("cache/maps/*/shard-*.safetensors"))
    kept, rows = second.read_bytes(), (tmp_path / "job" / "rows.parquet").read_bytes()
    before = first.read_bytes()
    damage(first)
    assert first.read_bytes() != before
    capfd.readouterr()
    assert store.main(["verify", "--cache", "cache"]) == 1
    assert first.name in capfd.readouterr().out
    code, out, err = cli(*words)
    assert code == 0, err
    assert "Traceback" not in out + err
    assert first.name in out + err
    assert not Path("ran").exists(), "code in a file was run"
    assert read_summary(tmp_path / "job")["maps_computed"] == 2
    assert (second.read_bytes(), (tmp_path / "job" / "rows.parquet").read_bytes()) == (kept, rows)
    assert store.main(["verify", "--cache", "cache"]) == 0


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("method.steps=0", "method.steps"),
        ("method.tolerance=-1", "method.tolerance"),
        ("evaluation.areas=[2]", "evaluation.areas"),
        ("+label.seed=1", "label has no option 'seed'"),
        ("+fill.colour=red", "fill has no option 'colour'"),
        ("+source.x=1", "source has no option 'x'"),
        ("+target.self.x=1", "target.self has no option 'x'"),
        ("batch_size=0", "batch_size"),
    ],
)
def test_settings_are_checked_before_images_and_networks_are_looked_for(cli, word, part):
    Path("empty").mkdir()
    one_line(*cli(*SMALL, "method=ss", "data.root=empty", "source.arch=none_such", word), part)


@named(REPORT, "prepare", "words", "part")
def test_report_refuses_in_one_line(tmp_path, monkeypatch, capsys, prepare, words, part):
    monkeypatch.chdir(tmp_path)
    prepare()
    code = report.main(words)
    captured = capsys.readouterr()
    one_line(code, captured.out, captured.err, part)


@named(STORE, "prepare", "words", "part")
def test_store_refuses_in_one_line_and_hurts_nothing(tmp_path, monkeypatch, capsys, prepare, words, part):
    monkeypatch.chdir(tmp_path)
    prepare()
    before = contents(tmp_path)
    code = store.main(words)
    captured = capsys.readouterr()
    one_line(code, captured.out, captured.err, part)
    assert contents(tmp_path) == before


@named(DAMAGED, "prepare", "part")
def test_a_damaged_job_is_left_out_of_the_report_by_name(tmp_path, monkeypatch, capsys, prepare, part):
    monkeypatch.chdir(tmp_path)
    prepare()
    assert report.main(["run=run"]) == 1  # no job is left
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    (line,) = (line for line in (captured.out + captured.err).splitlines() if part in line)
    assert "0_a" in line
    assert not Path("ran").exists(), "code in a file was run"
