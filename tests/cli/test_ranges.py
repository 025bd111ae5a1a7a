"""Every number on the command line has a range: what lies outside is refused before anything is computed."""

import re
from functools import cache, partial

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harmonia.attribution.lima import LiMA
from harmonia.attribution.lrp import LRP
from harmonia.attribution.rise import RISE
from harmonia.attribution.soundness import SoundnessSaliency
from harmonia.cli.entry import conf_folder
from harmonia.cli.options import Group, check, read_settings
from harmonia.data.view import View
from harmonia.errors import InputError
from harmonia.evaluation.metrics.completeness_soundness import CompletenessSoundness
from harmonia.evaluation.metrics.faithfulness_correlation import FaithfulnessCorrelation
from harmonia.evaluation.metrics.irof import IROF
from harmonia.evaluation.metrics.max_sensitivity import MaxSensitivity
from harmonia.evaluation.metrics.mprt import EfficientMprt
from harmonia.evaluation.mosaics.localisation import Localisation
from harmonia.features.controls import Controls
from harmonia.features.fill import Blur
from harmonia.job.prepare import device_of
from harmonia.job.settings import Settings
from harmonia.models.spec import ModelSpec

CONF = conf_folder()
OPTIONS = [
    (group, path.stem)
    for group in ("method", "data", "fill", "label", "evaluation", "trainer")
    for path in sorted((CONF / group).glob("*.yaml"))
] + [("source", "timm")]  # of which all others have the options
LACKING = {"timm": {"arch": "x"}, "stored": {"maps": "x"}}  # what has no default
MAY_BE_0 = {"area", "average", "collaboration", "confidence", "noise", "pool_size", "representations", "tolerance"}
MAY_BE_0 |= {"jitter", "smooth", "tolerance_px", "tv"}
TRIED = (-1, 0, 2**31, 2**64, 10**30, 1e308, float("inf"), float("nan"))


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (RISE, {"keep": 0}, "keep must be at least 1e-06, got 0; write method.keep=0.1"),
        (RISE, {"keep": 1}, "keep must be at most 0.999999, got 1; write method.keep=0.1"),
        (LRP, {"epsilon": 0}, "epsilon must be at least 1e-30, got 0; write method.epsilon=1e-09"),
        (LiMA, {"segments": 1}, "segments must be at least 2, got 1; write method.segments=49"),
        (LiMA, {"pending": 0}, "pending must be at least 1, got 0; write method.pending=8"),
        (LiMA, {"consistency": 0}, "consistency must be at least 1e-06, got 0; write method.consistency=20"),
        (LiMA, {"confidence": -1}, "confidence must be at least 0, got -1; write method.confidence=0.05"),
        (SoundnessSaliency, {"learning_rate": 0.0}, "learning_rate must be at least 1e-09, got 0.0"),
        (SoundnessSaliency, {"tolerance": -1}, "tolerance must be at least 0, got -1"),
        (SoundnessSaliency, {"held_out": 0}, "held_out must be at least 1, got 0"),
        (CompletenessSoundness, {"floor": 0}, "floor must be at least 1e-06, got 0"),
        (FaithfulnessCorrelation, {"draws": 2}, "draws must be at least 3, got 2"),
        (IROF, {"segments": 1}, "segments must be at least 2, got 1"),
        (IROF, {"compactness": 0}, "compactness must be at least 1e-06, got 0"),
        (MaxSensitivity, {"radius": 0}, "radius must be at least 1e-06, got 0"),
        (EfficientMprt, {"bins": 1}, "bins must be at least 2, got 1"),
        (Localisation, {"protocol": "gridpg", "confidence": 1}, "confidence must be at most 0.999999999, got 1"),
        (Controls, {"seed": -1}, "seed must be at least 0, got -1; write method.seed=0"),
        (Blur, {"sigma": 0.6}, "sigma must be at most 0.5, got 0.6; write method.sigma=0.05"),
    ],
)
def test_a_number_without_meaning_is_refused_with_the_usual_one(target, options, message):
    path = f"{target.__module__}.{target.__qualname__}"
    with pytest.raises(InputError) as refusal:
        Group("method", "m", {"_target_": path, **options}).build()
    assert str(refusal.value).startswith(f"method.{message}")


def numbers(node, above=()):
    """Keys of what is a number or may be one: null, and what follows another option."""
    for name, value in node.items():
        if isinstance(value, dict):
            yield from numbers(value, (*above, name))
        elif value is None or (isinstance(value, int | float | list) and not isinstance(value, bool)):
            yield (*above, name), isinstance(value, list)


def changed(node, key, value):
    return {**node, key[0]: changed(node[key[0]], key[1:], value) if key[1:] else value}


@cache
def loaded(group, option):
    """A group's option upon those that it refines; what follows a root key follows these."""

    def merged(name):
        own = OmegaConf.load(CONF / group / f"{name}.yaml")
        refined = [one for one in own.pop("defaults", []) if one != "_self_"]
        return OmegaConf.merge(*map(merged, refined), own, LACKING.get(name, {}))

    root = {"seed": 0, "layer": "auto", "crop_pct": None, "paths": {"cache": "c", "weights": None}}
    return OmegaConf.to_container(OmegaConf.create({**root, group: merged(option)}), resolve=True)[group]


def attempt(group, options):
    if group == "source":
        asked = read_settings(ModelSpec, options, "source").overrides()
        size = asked.pop("input_size", (3, 224, 224))[1]
        half = (0.5, 0.5, 0.5)
        usual = {"crop_pct": 0.9, "crop_mode": "center", "interpolation": "bicubic", "mean": half, "std": half}
        return View(size=size, **usual | asked)
    options = {name: value for name, value in options.items() if name != "name"}
    chosen = Group(group, "m", options)
    if group == "trainer":
        return device_of(partial(chosen.build), options["devices"])
    if group == "label":
        return chosen.function()
    return check("data", options) if group == "data" else chosen.build()


def refused(work):
    """Whether it is refused, in one line with a remedy; any other error is raised."""
    line = ""
    try:
        work()
    except InputError as error:
        line = str(error)
        assert_one_line(line)
    return bool(line)


def assert_one_line(text):
    assert "\n" not in text
    assert "; " in text
    # a bound next to what is left out is no value to write
    assert "epsilon" in text or not re.search(r"e-\d|0\.99999", text.partition("; ")[2]), text


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_no_number_of_any_option_is_without_bound(group, option):
    options = loaded(group, option)
    assert option == "gpu" or not refused(partial(attempt, group, options))
    for key, is_list in numbers(options):
        taken = [
            value
            for value in TRIED
            if not refused(partial(attempt, group, changed(options, key, [value] if is_list else value)))
        ]
        assert taken == ([0, 2**31] if key[-1] == "seed" else [0] if key[-1] in MAY_BE_0 else []), key


@cache
def root():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["paths.job=job", "tracking.group=sweep"])
    return {**OmegaConf.to_container(config, resolve=True), "resolved": {}}


@pytest.mark.parametrize(
    "key",
    [
        "seed",
        "batch_size",
        "num_threads",
        "crop_pct",
        "smooth.k",
        "store.shard_size",
        "store.spool_gb",
        "tracking.panel_images",
    ],
)
def test_no_number_of_the_root_is_without_bound(key):
    read_settings(Settings, root())
    tried = [changed(root(), key.split("."), value) for value in TRIED]
    taken = [
        value
        for value, values in zip(TRIED, tried, strict=True)
        if not refused(partial(read_settings, Settings, values))
    ]
    assert taken == {"seed": [0, 2**31], "store.spool_gb": [0], "tracking.panel_images": [0]}.get(key, [])
