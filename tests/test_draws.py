"""Laws of counter-based numbers: the published hash, whatever the order, shape and company."""

import ast
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

import harmonia
from harmonia.draws import Purpose, counter_hash, image_key

MASK = 2**64 - 1


def splitmix64(state: int) -> int:
    """Steele, Lea, Flood 2014, as published with the constants of Stafford's variant 13."""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def slow_hash(*words: int) -> int:
    state = 0
    for word in words:
        state = splitmix64(state ^ (word & MASK))
    return state


def test_one_word_is_the_first_number_of_splitmix64():
    assert int(counter_hash(0)) == 0xE220A8397B1DCDAF  # the known first output for seed 0
    assert int(counter_hash(1234567)) == 6457827717110365317  # the known first output for seed 1234567


@pytest.mark.parametrize("words", [(0,), (1, 2), (0, 0, 0, 0), (7, MASK, 2**63, 1), (-1, 5), (3, 2**63 + 1, 0, 9)])
def test_words_are_chained_as_a_slow_re_write_chains_them(words):
    assert int(counter_hash(*words)) == slow_hash(*words)


def test_arrays_give_what_their_elements_give_alone():
    keys = np.array([image_key(name) for name in ("a", "b", "c")], np.uint64)
    together = counter_hash(5, keys[:, None], 2, np.arange(4)[None])
    assert together.shape == (3, 4)
    alone = [[slow_hash(5, int(key), 2, draw) for draw in range(4)] for key in keys]
    assert together.tolist() == alone
    order = [2, 0, 1]
    assert np.array_equal(counter_hash(5, keys[order][:, None], 2, np.arange(4)[None]), together[order])


def test_every_word_and_its_place_matter():
    words = [(1, 2, 3), (3, 2, 1), (1, 2, 4), (0, 2, 3), (1, 2), (1, 2, 3, 0)]
    assert len({int(counter_hash(*given)) for given in words}) == len(words)


@pytest.mark.parametrize("axis", range(3))
def test_numbers_are_uniform_along_every_word(axis):
    words = [11, 22, 33]
    words[axis] = np.arange(100_000)
    numbers = counter_hash(*words) / 2**64
    assert chisquare(np.histogram(numbers, 100, (0, 1))[0]).pvalue > 1e-3
    assert chisquare(np.bincount((counter_hash(*words) % np.uint64(7)).astype(int))).pvalue > 1e-3
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.015


def test_an_images_key_is_a_published_hash_of_its_id():
    assert image_key("") == int.from_bytes(bytes.fromhex("e3b0c44298fc1c14"), "little")  # SHA-256 of nothing
    assert image_key("abc") == int.from_bytes(bytes.fromhex("ba7816bf8f01cfea"), "little")  # FIPS 180-2, B.1
    assert image_key("caf\udce9.jpg") != image_key("café.jpg")  # a file name that is not UTF-8 has a key too


@cache
def modules() -> dict[str, ast.Module]:
    """Every module but draws.py, by its place."""
    root = Path(harmonia.__path__[0])
    paths = {path.relative_to(root).as_posix(): path for path in root.rglob("*.py")}
    return {place: ast.parse(path.read_text("utf-8")) for place, path in paths.items() if place != "draws.py"}


def test_every_purpose_of_a_draw_has_a_number_and_a_module_of_its_own():
    assert len(Purpose.__members__) == len(set(Purpose))
    users: dict[str, set[str]] = {}
    for place, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Purpose":
                users.setdefault(node.attr, set()).add(place)
    assert users.keys() == Purpose.__members__.keys()
    assert [places for places in users.values() if len(places) > 1] == []


# what draws without a purpose: the pool, of two words (seed, key), and replacement images, whose word is a step
WITHOUT = {"data/manifest.py": 1, "data/replacements.py": 1}


def test_no_module_draws_for_a_purpose_that_draws_does_not_name():
    without: dict[str, int] = {}
    for place, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"counter_hash", "uniform", "normal"}:
                names = [part.id for argument in node.args for part in ast.walk(argument) if isinstance(part, ast.Name)]
                if "Purpose" not in names:
                    without[place] = without.get(place, 0) + 1
    assert without == WITHOUT
