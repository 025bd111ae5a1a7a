from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from harmonia.cli.entry import conf_folder, hydra_words
from harmonia.cli.options import check
from harmonia.job.contract import Evaluation
from harmonia.job.settings import settings_of

CONF = conf_folder()
TOGETHER = ["source", "method", "data", "fill", "label", "evaluation", "trainer", "logger"]
GROUPS = [*TOGETHER, "target", "experiment"]
GENERIC = {kind: ["source.arch=resnet18"] for kind in ("timm", "torchvision", "huggingface")}  # a kind, not one network
MAPS = {"stored": ["method.maps=."]}
OPTIONS = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]


@cache
def composed(*overrides):
    """With what Hydra itself sets in a job. Nobody may alter it."""
    overrides = [*hydra_words(overrides), "paths.job=job", "tracking.group=sweep"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides, return_hydra_config=True)
    OmegaConf.set_readonly(config.hydra, False)
    return config


def composed_with(group, option):
    """The n-th options of all groups TOGETHER: one by one would take three times as long."""
    if group not in TOGETHER:
        return composed(f"{group}={option}")
    names = {kind: [name for one, name in OPTIONS if one == kind] for kind in TOGETHER}
    number = names[group].index(option)
    chosen = {kind: options[number % len(options)] for kind, options in names.items()}
    needed = [*GENERIC.get(chosen["source"], []), *MAPS.get(chosen["method"], [])]
    return composed(*(f"{kind}={name}" for kind, name in chosen.items()), *needed)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_yaml_composes_and_opens_with_a_comment(group, option):
    config = composed_with(group, option)
    assert config.hydra.runtime.choices[group] == option or group == "target"
    text = (CONF / group / f"{option}.yaml").read_text().removeprefix("# @package _global_\n")
    assert text.startswith("#")


@pytest.mark.parametrize(
    ("group", "option"),
    [pair for pair in OPTIONS if pair[0] in ("source", "method", "data", "fill", "label", "evaluation")],
)
def test_an_option_is_named_after_its_file(group, option):
    if group == "source" and option in {*GENERIC, "vote"}:
        pytest.skip("named after its arch or its networks")
    assert composed_with(group, option)[group].name == option


def test_every_source_is_a_target_with_the_same_settings():
    names = {option for group, option in OPTIONS if group == "source"} - GENERIC.keys()
    assert {option for group, option in OPTIONS if group == "target"} == names | GENERIC.keys() | {"self"}
    targets = composed(f"target=[{','.join(sorted(names))}]").target
    for name in names:
        config = composed_with("source", name)
        assert targets[name] == config.source == config.target["self"]


def test_targets_come_in_the_order_asked_for():
    assert list(composed("target=[lite1,self,e5]").target) == ["lite1", "self", "e5"]
    assert list(composed("target=e5").target) == ["e5"]
    assert list(composed("target=[self,e5,self]").target) == ["self", "e5"]  # once, whoever names it twice


def test_the_paper_is_the_default_cell():
    config = composed()
    assert (config.source.name, list(config.target), config.method.name) == ("e7", ["self", "e6", "e5"], "gc")
    assert (config.data.name, config.label.name, config.fill.name) == ("imagewoof", "predicted", "black")


@pytest.mark.parametrize(
    ("name", "sources", "targets", "data"),
    [("paper", "e7,vit", ["self", "e6", "e5"], "imagewoof"), ("lite", "lite2", ["self", "lite1", "lite0"], "samples")],
)
def test_the_grids_of_make_reproduce_tables(name, sources, targets, data):
    config = composed(f"experiment={name}")
    assert config.hydra.mode.name == "MULTIRUN"
    assert config.hydra.sweeper.params.source == sources
    assert set(config.hydra.sweeper.params.method.split(",")) == {"gc", "ss"}
    assert list(config.target) == targets
    assert config.data.name == data


@pytest.mark.parametrize(
    ("group", "option"),
    [pair for pair in OPTIONS if pair[0] in ("method", "data", "fill", "evaluation", "trainer", "label")],
)
def test_every_option_fits_its_target(group, option):
    config = composed_with(group, option)
    chosen = getattr(settings_of(OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])), group)
    assert chosen.name == option
    check(group, chosen.options, keywords_only=group == "label")


@pytest.mark.parametrize("group", ["method", "fill", "evaluation"])
def test_every_option_builds_its_object(group):
    for name in [option for kind, option in OPTIONS if kind == group]:
        config = composed_with(group, name)
        options = OmegaConf.to_container(config[group], resolve=True)
        del options["name"]
        built = instantiate(options, _convert_="all")
        assert callable(built) or isinstance(built, Evaluation)
        assert type(built).__module__.startswith("harmonia.")


def test_a_sweeps_jobs_have_folders_of_their_own():
    config = composed("source=lite0", "method=ss")
    subdirs = set()
    for number in range(2):
        config.hydra.job.num = number
        subdirs.add(config.hydra.sweep.subdir)
    assert subdirs == {"0_lite0_ss", "1_lite0_ss"}


def test_the_label_policy_true_is_no_boolean():
    assert composed("label=true").label.name == "true"
    assert hydra_words(["label=true,predicted", "label=[true]", "x=true"]) == [
        "label='true',predicted",
        "label=['true']",
        "x=true",
    ]


def test_conf_in_a_checkout_is_the_top_level_folder():
    assert Path(__file__).parents[1] / "conf" == CONF


@pytest.mark.parametrize("path", sorted((CONF / "hydra" / "launcher").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_launcher_composes_says_what_to_install_and_names_our_target_or_a_plugin(path):
    launcher = composed(f"hydra/launcher={path.stem}").hydra.launcher
    assert launcher._target_.startswith("hydra_plugins.")
    assert path.read_text().startswith("#")
    assert "pip install '.[" in path.read_text()
