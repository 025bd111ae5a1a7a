"""What a key holds of a class: its name, version and options, not where its code lives."""

import functools
import re
import sys
import textwrap
from dataclasses import dataclass
from importlib import util

import pytest
from paths import CONF

from harmonia.store.identity import fingerprint
from harmonia.store.manifest import set_key

METHOD = """
from dataclasses import dataclass, field
from typing import ClassVar

@dataclass(frozen=True)
class Inner:
    version: ClassVar[int] = 3
    k: int = 1

@dataclass(frozen=True)
class Method:
    steps: int = 8
    inner: Inner = Inner()
    several: tuple = (Inner(k=2), 0.5)
"""


def method_in(module, folder, source=METHOD):
    """Method as a module of that name defines it."""
    path = folder / f"{module}.py"
    path.write_text(textwrap.dedent(source))
    spec = util.spec_from_file_location(module, path)
    loaded = util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module, loaded)
        spec.loader.exec_module(loaded)
    return loaded.Method


def key_of(method):
    return set_key({"method": fingerprint(method)})


def test_a_class_that_moves_keeps_its_key(tmp_path):
    here, there = (method_in(module, tmp_path) for module in ("first_room", "second_room"))
    assert here.__module__ != there.__module__
    assert key_of(here()) == key_of(there())
    assert "room" not in str(fingerprint(here()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: ClassVar[int] = 3", "version: ClassVar[int] = 4"),
        ("several: tuple", "version: ClassVar[int] = 1\n    several: tuple"),  # none is version 0
        ("steps: int = 8", "steps: int = 9"),
        ("k: int = 1", "k: int = 2"),
        ("Inner(k=2), 0.5", "Inner(k=3), 0.5"),
        ("Inner", "Outer"),
    ],
)
def test_a_version_an_option_or_another_name_anywhere_in_it_changes_the_key(tmp_path, old, new):
    assert old in METHOD
    changed = method_in("changed", tmp_path, METHOD.replace(old, new))
    assert key_of(changed()) != key_of(method_in("method", tmp_path)())


def policy_in(module: str, text: str = "def policy(*, seed): ..."):
    """A function with a bound option, as Hydra binds a label policy's."""
    names = {"__name__": module}
    exec(text, names)
    return functools.partial(names["policy"], seed=3)


def test_a_function_that_moves_keeps_its_key_and_its_name_options_and_version_are_in_it():
    assert fingerprint(policy_in("here")) == fingerprint(policy_in("there")) == {"function": "policy", "seed": 3}
    assert fingerprint(policy_in("here", "def policy(*, seed): ...\npolicy.version = 2"))["version"] == 2


def test_version_0_is_that_of_a_class_that_states_none():
    @dataclass
    class Plain:
        size: int

    assert fingerprint([Plain(2)]) == [{"class": "Plain", "version": 0, "size": 2}]


def test_no_two_classes_that_a_group_of_conf_names_share_a_name():
    for group in sorted(path for path in CONF.iterdir() if path.is_dir()):
        text = "\n".join(path.read_text() for path in group.rglob("*.yaml"))
        addresses = set(re.findall(r"_target_: (\S+)", text))
        names = {address.rpartition(".")[2] for address in addresses}
        assert len(names) == len(addresses), group.name
