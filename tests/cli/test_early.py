"""Law of what a command's process does before its work; tests/cli/test_console.py interrupts it."""

import os
import resource
import subprocess
import sys
import textwrap

import pytest


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_a_pass_finds_the_memory_of_the_one_before():
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
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    given_back, kept = map(int, done.stdout.split())
    assert 2 * given_back > 2**26 // resource.getpagesize() > 100 * kept
