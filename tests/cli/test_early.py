"""Laws of what a command's process does before its work; tests/cli/test_console.py interrupts it."""

import importlib
import os
import platform
import resource
import subprocess
import sys
import textwrap

import pytest

from harmonia.cli import early
from harmonia.cli.composed import composed_conf


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
@pytest.mark.parametrize("own", [{}, {"MALLOC_ARENA_MAX": "2"}])
def test_a_pass_finds_the_memory_of_the_one_before_where_nobody_has_set_the_allocator_up(own):
    """In a process of its own: the allocator is the whole process's."""
    code = """
        import resource
        from harmonia.cli.early import keep_freed_memory
        def faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            b"x" * 2**26
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        print(min(faults() for _ in range(4)))
        keep_freed_memory()
        print(min(faults() for _ in range(4)))
    """
    words = [sys.executable, "-c", textwrap.dedent(code)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}  # make test's
    done = subprocess.run(words, env=environment | own, capture_output=True, text=True, check=True)
    given_back, kept = map(int, done.stdout.split())
    pages = 2**26 // resource.getpagesize()
    assert given_back > pages // 2
    assert (kept < pages // 100) is not bool(own)


def test_the_collector_looks_through_what_was_imported_no_more_and_through_the_rest_as_before():
    """In a process of its own: the collector is the whole process's."""
    code = """
        import gc
        from harmonia.cli.early import importing
        for _ in range(2):
            with importing():
                modules = [[] for _ in range(1000)]
                print(gc.isenabled())
            print(gc.isenabled(), gc.get_freeze_count() > 1000, gc.is_tracked(modules), len(gc.get_objects()) > 1000)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    # the second time, of a sweep's next job, nothing more is left out
    assert done.stdout.split("\n")[:4] == ["False", "True True True False", "False", "True True True True"]


@pytest.mark.slow
def test_a_job_imports_no_library_for_parts_of_others_that_it_does_not_use_and_they_can_still_be_used():
    """In a process of its own: what is imported stays."""
    code = """
        import sys
        from harmonia.cli.composed import composed_conf
        from harmonia.job.settings import settings_of
        settings_of(composed_conf(["source=lite0", "logger=none", "paths.job=job", "tracking.group=none"]))
        from harmonia.job import pipeline
        print([name for name in ("wandb", "transformers", "scipy.signal") if name in sys.modules])
        import torchmetrics.functional.text.bert as bert
        import scipy.signal, transformers, wandb
        print(hasattr(scipy.signal, "convolve"), hasattr(scipy.signal, "no_such_name"), hasattr(wandb, "init"))
        print(bert.AutoModel.from_pretrained == transformers.AutoModel.from_pretrained)
        try:
            bert.AutoModel()
        except OSError as refused:
            print("from_pretrained" in str(refused))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "True", "False", "True", "True", "True"]


def test_a_name_whose_module_is_imported_later_is_the_class_itself_to_whoever_uses_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "fractions", early._Later("fractions"))
    from fractions import Fraction  # while the module has a stand-in

    assert type(Fraction) is early._Name
    half = Fraction(1, 2)  # imports it
    assert type(half) is importlib.import_module("fractions").Fraction is not Fraction
    assert isinstance(half, Fraction)
    assert not isinstance(0.5, Fraction)
    assert issubclass(type(half), Fraction)
    assert not issubclass(float, Fraction)
    assert Fraction.from_float(0.5) == half

    class Own(Fraction):
        pass

    assert type(Own(1, 2)) is Own
    assert isinstance(Own(1, 2), type(half))


@pytest.mark.parametrize(
    ("command", "config", "work", "words"),
    [
        ("harmonia.run.job", "config", "harmonia.job.pipeline.run", ["source=lite0", "data=samples"]),
        (
            "harmonia.fit.fit_one",
            "fit",
            "harmonia.training.fit.fit_network",
            ["source.arch=test_resnet", "data.root=."],
        ),
    ],
)
def test_a_job_and_a_fit_keep_it_before_they_begin(command, config, work, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    order, (module, _, name) = [], command.rpartition(".")
    door = importlib.import_module(module)  # harmonia.fit is a function, too
    monkeypatch.setattr(door, "keep_freed_memory", lambda: order.append("keeps"))
    monkeypatch.setattr(work, lambda settings: order.append("works"))
    places = ["paths.job=job", "tracking.group=none"]
    getattr(door, name).__wrapped__(composed_conf([*words, *places], config))
    assert order == ["keeps", "works"]
