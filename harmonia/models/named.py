"""Specs of networks by name: a yaml of conf/source, or KIND:ARCH."""

import difflib
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from harmonia.cli.composed import composed_conf, yamls
from harmonia.cli.refusal import may_be_timms
from harmonia.errors import InputError
from harmonia.models.spec import ModelSpec

KINDS = ("timm", "torchvision", "huggingface")


def spec_of_name(name: str, words: Sequence[str] = (), subject: str = "a network", /, **options: Any) -> ModelSpec:
    """Of a yaml in conf/source or KIND:ARCH, composed with words, with other options; subject: of a refusal."""
    source = composed_conf(["target=[self]", *source_words(name, subject), *words]).source
    config: Any = OmegaConf.to_container(source, resolve=True)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}
    return ModelSpec(**{**values, **options})


def source_words(name: str, subject: str = "a network") -> list[str]:
    """Those that choose a yaml of conf/source, or KIND:ARCH."""
    kind, colon, arch = name.partition(":")
    if colon and kind not in KINDS:
        raise InputError(f"{subject}: its kind must be one of {', '.join(KINDS)}, got {kind!r}; write timm:{arch}")
    if not colon and name not in (own := yamls("source")):
        near = difflib.get_close_matches(name, own)
        remedies = [f"did you mean {' or '.join(near)}?"] if near else []
        if may_be_timms(name, own):
            remedies.append(f"timm's is 'timm:{name}'")
        raise InputError(f"{subject} must be one of {', '.join(own)}, got {name!r}; {' '.join(remedies)}")
    escaped = arch.replace("\\", "\\\\").replace('"', '\\"')
    return [f"source={kind}", *([f'source.arch="{escaped}"'] if colon else [])]
