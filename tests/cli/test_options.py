"""Options against signatures: what is refused, in which words, and what comes through."""

import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Protocol

import pytest
from hydra import compose, initialize_config_dir

from harmonia.cli.entry import conf_folder
from harmonia.cli.options import Group, read_settings
from harmonia.errors import InputError, Within
from harmonia.job.settings import settings_of


class Shape(Protocol):
    def area(self) -> float: ...


@dataclass(frozen=True)
class Start:
    layer: str = "auto"

    def __post_init__(self):
        if self.layer == "refused":
            raise InputError("layer 'refused' is not a module")
        if self.layer == "defect":
            raise ZeroDivisionError("a defect")


@dataclass(frozen=True, kw_only=True)
class Method:
    steps: int = 60
    rate: float = 0.2
    objective: str = "nll"
    fast: bool = False
    limit: int | None = None
    root: str | Path | None = None
    folder: Path = Path()
    size: Literal["auto"] | int = "auto"
    mode: Literal["a", "b"] = "a"
    areas: tuple[float, ...] = (0.1,)
    mean: Sequence[float] | None = None
    pair: tuple[int, int] = (1, 2)
    names: list[str] | None = None
    bare: list | None = None
    either: int | float = 1
    old: Optional[str] = None  # noqa: UP045
    start: Start | None = None
    starts: list[Start] | None = None
    anything: Any = None
    shape: Shape | None = None
    many: dict[str, int] | None = None


def strings(steps: "int", unknown: "Nowhere" = None):  # noqa: F821 # pyright: ignore
    return steps, unknown


def policy(logits, true, *, seed: int, start: Start | None = None):
    return logits, true, seed, start


def takes_any(number: int = 1, **others):
    return {"number": number} | others


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """Hydra finds targets by import, and pytest's name for this module is no import path."""
    planted = types.ModuleType("planted")
    for thing in (Method, Start, strings, policy, takes_any):
        setattr(planted, thing.__name__, thing)
    planted.constant = 3  # pyright: ignore
    monkeypatch.setitem(sys.modules, "planted", planted)


def build(key, options, **objects):
    return Group(key, "m", options).build(**objects)


def build_function(key, options):
    return Group(key, "m", options).function()


def method(**options):
    return build("method", {"_target_": "planted.Method", **options})


def start(**options):
    return {"_target_": "planted.Start", **options}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("steps", 3),
        ("rate", 1),
        ("rate", 0.5),
        ("objective", "soft"),
        ("fast", True),
        ("limit", None),
        ("limit", 3),
        ("root", None),
        ("root", "data"),
        ("folder", "data"),
        ("size", "auto"),
        ("size", 8),
        ("mode", "b"),
        ("mean", None),
        ("mean", [0.5, 1]),
        ("areas", [0.1, 1]),
        ("areas", []),
        ("pair", [3, 4]),
        ("names", ["a"]),
        ("bare", ["a", 1]),
        ("either", 2.5),
        ("old", "x"),
        ("anything", "x"),
        ("anything", [1]),
        ("shape", "x"),  # neither a Protocol nor a dict is checked
        ("many", "x"),
    ],
)
def test_a_value_that_fits_comes_through_unchanged(option, value):
    assert getattr(method(**{option: value}), option) == value


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("steps", "abc", "method.steps must be a whole number, got 'abc'; write method.steps=NUMBER"),
        ("steps", True, "method.steps must be a whole number, got true; write method.steps=NUMBER"),
        ("steps", None, "method.steps must be a whole number, got null; write method.steps=NUMBER"),
        ("steps", 2.5, "method.steps must be a whole number, got 2.5; write method.steps=NUMBER"),
        ("steps", 60.0, "method.steps must be a whole number, got 60.0; write method.steps=60"),
        ("steps", [3], "method.steps must be a whole number, got [3]; write method.steps=NUMBER"),
        ("rate", "abc", "method.rate must be a number, got 'abc'; write method.rate=NUMBER"),
        ("rate", False, "method.rate must be a number, got false; write method.rate=NUMBER"),
        ("rate", float("nan"), "method.rate must be a number, got nan; write method.rate=NUMBER"),
        ("objective", 3, "method.objective must be text, got 3; write method.objective=\"'3'\""),
        ("objective", True, "method.objective must be text, got true; write method.objective=\"'true'\""),
        ("objective", None, "method.objective must be text, got null; write method.objective=TEXT"),
        ("fast", "yes", "method.fast must be true or false, got 'yes'; write method.fast=true"),
        ("fast", 1, "method.fast must be true or false, got 1; write method.fast=true"),
        ("limit", "all", "method.limit must be a whole number or null, got 'all'; write method.limit=NUMBER"),
        ("root", 2020, "method.root must be a file or folder path or null, got 2020; write method.root=./2020"),
        ("folder", None, "method.folder must be a file or folder path, got null; write method.folder=PATH"),
        ("size", "big", "method.size must be auto or a whole number, got 'big'; write method.size=auto"),
        ("size", True, "method.size must be auto or a whole number, got true; write method.size=auto"),
        ("mode", "c", "method.mode must be one of a, b, got 'c'; write method.mode=a"),
        ("areas", 0.3, "method.areas must be a list of numbers, got 0.3; write 'method.areas=[0.3]'"),
        ("areas", [0.3, "x"], "method.areas must be a list of numbers, got [0.3, 'x']; write 'method.areas=[A,B]'"),
        ("areas", "0.3", "method.areas must be a list of numbers, got '0.3'; write 'method.areas=[A,B]'"),
        ("areas", [float("nan")], "method.areas must be a list of numbers, got [nan]; write 'method.areas=[A,B]'"),
        ("mean", "x", "method.mean must be a list of numbers or null, got 'x'; write 'method.mean=[A,B]'"),
        ("pair", [1], "method.pair must be a list of 2 whole numbers, got [1]; write 'method.pair=[A,B]'"),
        ("names", "a", "method.names must be a list of texts or null, got 'a'; write 'method.names=[a]'"),
        ("bare", 1, "method.bare must be a list of values or null, got 1; write 'method.bare=[A,B]'"),
        ("either", "x", "method.either must be a number, got 'x'; write method.either=NUMBER"),
        ("old", 3, "method.old must be text or null, got 3; write method.old=\"'3'\""),
        (
            "start",
            "gc",
            "method.start must be Start (its _target_ and options) or null, got 'gc'; "
            "write method.start={_target_:NAME}",
        ),
        ("stepz", 3, "method has no option 'stepz'; did you mean method.steps?"),
        ("zzz", 3, "method has no option 'zzz'; --cfg job prints the ones it has"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_words(option, value, message):
    with pytest.raises(InputError) as refusal:
        method(**{option: value})
    assert str(refusal.value) == message


def test_a_nested_object_is_built_and_checked_under_its_own_key():
    assert method(start=start(layer="bn2")).start == Start("bn2")
    assert method(starts=[start(), start(layer="bn2")]).starts == [Start(), Start("bn2")]
    with pytest.raises(InputError, match=r"^method\.start\.layer must be text, got null; "):
        method(start=start(layer=None))
    with pytest.raises(InputError, match=r"^method\.starts\.layer must be text, got null; "):
        method(starts=[start(), start(layer=None)])
    with pytest.raises(InputError, match=r"^method\.start has no option 'depth'"):
        method(start=start(depth=3))


def test_lists_and_mappings_arrive_as_python_has_them():
    built = build("logger", {"_target_": "planted.takes_any", "settings": {"silent": True}, "tags": ["a"]})
    assert type(built["settings"]) is dict
    assert type(built["tags"]) is list


def test_what_a_constructor_refuses_comes_as_it_was_raised():
    with pytest.raises(InputError, match=r"^layer 'refused' is not a module$"):
        build("method", start(layer="refused"))
    with pytest.raises(InputError, match=r"^layer 'refused' is not a module$"):
        method(start=start(layer="refused"))


@pytest.mark.parametrize(
    "options", [start(layer="defect"), {"_target_": "planted.Method", "start": start(layer="defect")}]
)
def test_a_defect_of_a_constructor_stays_what_it_is(options):
    with pytest.raises(ZeroDivisionError, match="a defect") as defect:
        build("method", options)
    assert defect.value.__cause__ is None
    assert defect.value.__context__ is None
    assert any(entry.name == "__post_init__" for entry in defect.traceback)


def test_objects_beside_the_options_go_to_the_constructor():
    objects = [Start()]
    built = build("trainer", {"_target_": "planted.takes_any", "number": 3}, callbacks=objects)
    assert built["callbacks"][0] is objects[0]
    assert built["number"] == 3


def test_a_function_is_bound_to_its_options_and_to_nothing_else():
    options = {"_target_": "planted.policy", "seed": 3, "start": start(layer="bn2")}
    assert build_function("label", options)("logits", "true") == ("logits", "true", 3, Start("bn2"))
    with pytest.raises(InputError, match=r"^label\.seed must be a whole number, got 'x'; "):
        build_function("label", {**options, "seed": "x"})
    with pytest.raises(InputError, match=r"^label\.seed must be given, it has no default; add label\.seed=VALUE$"):
        build_function("label", {"_target_": "planted.policy"})
    with pytest.raises(InputError, match=r"^label has no option 'logits'"):
        build_function("label", {**options, "logits": 3})


@dataclass(frozen=True)
class Disk:
    gigabytes: Annotated[float, Within(0, 9)]
    names: list[str] | None = None


SMALL = Annotated[int, "pixels", Within(0, 5)]


@pytest.mark.parametrize(
    ("annotation", "inside", "outside"),
    [
        (Annotated[int, "pixels"], 99, 10**30),
        (SMALL | None, 5, 99),
        (Annotated[int | None, Within(0, 5)], 5, 99),
        (Literal["auto"] | SMALL, 5, -1),
        (tuple[SMALL, ...], [5, 0], [5, 99]),
        (tuple[SMALL, float] | None, [5, 99], [99, 5]),
        (list[list[SMALL]], [[5]], [[5, 99]]),
        (float, 1e18, 1e308),
        (float | None, -1e18, float("inf")),
        (list[float], [1.5], [1.5, float("-inf")]),
        (Any, 3, 10**30),
    ],
)
def test_a_range_holds_wherever_the_number_stands_in_the_annotation(annotation, inside, outside):
    settings = make_dataclass("Settings", [("value", annotation)])
    read_settings(settings, {"value": inside})
    with pytest.raises(InputError, match=r"value must be at (most|least) .*; write (value=|\S+ in its place)"):
        read_settings(settings, {"value": outside})


@dataclass(frozen=True)
class Asked:
    method: Group
    disk: Disk
    disks: dict[str, Disk]


def asked(**changes):
    disk = {"gigabytes": 1}
    return {"method": {"_target_": "planted.Method", "name": "m"}, "disk": disk, "disks": {"a": disk}} | changes


def test_settings_are_read_all_the_way_down():
    disk = {"gigabytes": 2, "names": ["x", "y"]}
    settings = read_settings(Asked, asked(disk=disk, disks={"b": disk}))
    assert settings.method == Group("method", "m", {"_target_": "planted.Method"})
    assert settings.disk == Disk(2, ("x", "y")) == settings.disks["b"]  # pyright: ignore
    assert settings.method.with_options(steps=3).build() == Method(steps=3)
    assert settings.method.build() == Method()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": None}, "method must be one of its options, got null; --help lists them"),
        ({"method": {"name": 3}}, "method.name must be text, got 3; write method.name=\"'3'\""),
        ({"disk": {}}, "disk.gigabytes must be given, it has no default; add disk.gigabytes=VALUE"),
        ({"disk": {"gigabytes": -1}}, "disk.gigabytes must be at least 0, got -1; write disk.gigabytes=0"),
        ({"disk": {"gigabytes": 1, "gigabits": 1}}, "disk has no option 'gigabits'; did you mean disk.gigabytes?"),
        (
            {"disks": {"a": {"gigabytes": True}}},
            "disks.a.gigabytes must be a number, got true; write disks.a.gigabytes=NUMBER",
        ),
        ({"disc": 1}, "the configuration has no option 'disc'; did you mean disk?"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_words(changes, message):
    with pytest.raises(InputError) as refusal:
        read_settings(Asked, asked(**changes))
    assert str(refusal.value) == message


@pytest.mark.parametrize("path", ["planted.Nothing", "planted.constant", "no_such_module.Thing", "..", "", None, 3])
def test_a_target_that_cannot_be_called_is_refused(path):
    with pytest.raises(InputError, match=r"^method\._target_ must name"):
        build("method", {"_target_": path})


def test_a_target_whose_module_does_not_import_is_a_defect(tmp_path, monkeypatch):
    (tmp_path / "broken_for_harmonia.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="division by zero"):
        build("method", {"_target_": "broken_for_harmonia.Method"})


def test_string_annotations_are_read_where_they_can_be():
    assert build("method", {"_target_": "planted.strings", "steps": "abc"}) == ("abc", None)  # Nowhere spoils them all
    with pytest.raises(InputError, match=r"^method\.steps must be given"):
        build("method", {"_target_": "planted.strings"})


def test_a_target_that_takes_any_option_takes_any_and_checks_the_ones_it_names():
    assert build("logger", {"_target_": "planted.takes_any", "whatever": 3}) == {"number": 1, "whatever": 3}
    with pytest.raises(InputError, match=r"^logger\.number must be a whole number"):
        build("logger", {"_target_": "planted.takes_any", "number": "x"})


def composed(*overrides):
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        # what Hydra itself sets in a job
        return compose("config", [*overrides, "paths.job=job", "tracking.group=sweep"])


@pytest.mark.parametrize(
    "override",
    ["seed=7", "batch_size=1", "num_threads=2", "crop_pct=1", "crop_pct=0.9", "paths.weights=w", "store.spool_gb=0.5"],
)
@pytest.mark.slow
def test_root_keys_that_fit_pass(override):
    settings = settings_of(composed(override))
    assert settings.resolved["seed"] == settings.seed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=abc", "seed must be a whole number, got 'abc'"),
        ("seed=null", "seed must be a whole number, got null"),
        ("seed=[1]", "seed must be a whole number, got [1]"),
        ("seed=-1", "seed must be at least 0, got -1"),
        ("batch_size=0", "batch_size must be at least 1, got 0"),
        ("batch_size=true", "batch_size must be auto or a whole number, got true"),
        ("num_threads=0", "num_threads must be at least 1, got 0"),
        ("num_threads=two", "num_threads must be a whole number or null, got 'two'"),
        ("unreadable=null", "unreadable must be one of skip, fail, got null; write unreadable=skip"),
        ("crop_pct=wide", "crop_pct must be a number or null, got 'wide'"),
        ("store.shard_size=0", "store.shard_size must be at least 1, got 0"),
        ("store.shard_size=2.5", "store.shard_size must be a whole number or null, got 2.5"),
        ("store.spool_gb=-1", "store.spool_gb must be at least 0, got -1"),
        ("store.spool_gb=inf", "store.spool_gb must be at most 1000000, got inf"),
        ("store.spool_gb=nan", "store.spool_gb must be a number, got nan"),
        ("store=null", "store must be one of its options, got null"),
        ("paths.cache=''", "paths.cache must be a file or folder path, got ''; write paths.cache=PATH"),
        ("paths.weights=''", "paths.weights must be a file or folder path or null, got ''"),
        ("source.weights=''", "source.weights must be a file or folder path, got ''"),
        ("~store.spool_gb", "store.spool_gb must be given, it has no default; add store.spool_gb=VALUE"),
        ("+store.speed=1", "store has no option 'speed'"),
        ("source.crop_pct=wide", "source.crop_pct must be a number or null, got 'wide'"),
        ("+target.e6.archi=x", "target.e6 has no option 'archi'; did you mean target.e6.arch?"),
        ("tracking.panel_images=-1", "tracking.panel_images must be at least 0, got -1"),
        ("paths.cache=3", "paths.cache must be a file or folder path, got 3; write paths.cache=./3"),
        ("paths.weights=3", "paths.weights must be a file or folder path or null, got 3"),
        ("method.name=3", "method.name must be text, got 3"),
        ("target=[]", "target must name at least one model, got none; add 'target=[self]'"),
        ("target.e6=null", "target.e6 must be one of its options, got null"),
        ("~fill", "fill must be one of its options, got null"),
        ("~label", "label must be one of its options, got null"),
        ("~trainer.precision", "trainer.precision must be given, it has no default"),
    ],
)
@pytest.mark.slow
def test_root_keys_that_do_not_fit_are_refused(override, message):
    with pytest.raises(InputError) as refusal:
        settings_of(composed(override))
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("fill._target_=torch.load", "torch.load"),
        ("fill._target_=harmonia.models.weights.torch.load", "harmonia.models.weights.torch.load"),
        ("logger._target_=pytorch_lightning.LightningModule.load_from_checkpoint", "pytorch_lightning.LightningModule"),
        ("+fill.deep.list=[{_target_:pickle.load}]", "pickle.load"),
        ("+trainer.callbacks=[{_target_:os.system,command:x}]", "os.system"),
        ("method._target_=planted.Method", "planted.Method"),
    ],
)
@pytest.mark.slow
def test_no_target_outside_of_harmonia_is_built(override, path):
    """Through another library a _target_ reads pickles, or runs whatever it likes."""
    with pytest.raises(InputError, match=r"_target_ must lie in harmonia, got ") as refusal:
        settings_of(composed(override))
    assert path in str(refusal.value)
    assert str(refusal.value).endswith("code of your own runs by 'packages=[NAME]'")


@pytest.mark.slow
def test_a_package_that_is_no_text_lets_no_target_in():
    with pytest.raises(InputError, match=r"_target_ must lie in harmonia, got 'torch\.load'"):
        settings_of(composed("packages=[1]", "fill._target_=torch.load"))
    with pytest.raises(InputError, match=r"^packages must be a list of texts, got \[1\]"):
        settings_of(composed("packages=[1]"))


def test_a_package_that_the_user_names_is_built():
    own = Method.__module__.partition(".")[0]  # where it is written, not where it is found
    settings = settings_of(composed(f"packages=[planted,{own}]", "method._target_=planted.Method"))
    assert settings.method.options["_target_"] == "planted.Method"


@pytest.mark.parametrize("name", ["objective", "fast", "limit", "root", "old", "mean", "size", "mode"])
def test_an_object_is_no_text_and_no_null(name):
    """What a _target_ builds would be called for a word: its errors are its own."""
    with pytest.raises(InputError, match=rf"^m\.{name} must be "):
        Group("m", "m", {"_target_": "planted.Method", name: {"_target_": "planted.Start"}}).build()
