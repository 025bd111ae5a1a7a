"""timm's networks with the weights of a file, as timm would load them: its heads, its input sizes, its filters.

The filter of an architecture takes the names of the original authors' files to timm's and resamples positions to
another input size. timm hands it from the functions that build a network to timm.models._builder.load_pretrained.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any, cast
from unittest import mock

import timm
import torch
from timm.models import _builder
from torch import Tensor, nn

from harmonia.errors import one_line, refused
from harmonia.models import checkpoint
from harmonia.models import weights as weights_file
from harmonia.models.spec import ModelSpec
from harmonia.shapes import sides

log = logging.getLogger(__name__)

_ONE_AT_A_TIME = threading.Lock()


def create(arch: str, spec: ModelSpec, **settings: Any) -> nn.Module:
    """timm's network with random numbers; where its input has a fixed size and the spec says another, made for that.

    Raises InputError where the network cannot see images of the spec's input_size.
    """
    size = spec.input_size
    if size is None:
        return timm.create_model(arch, **settings)
    known = timm.get_pretrained_cfg(arch)
    fixed: dict[str, Any] = {"img_size": size} if known is not None and known.fixed_input_size else {}
    channels = settings.get("in_chans") or (known.input_size[0] if known is not None else 3)
    rule = f"{spec.name}: input_size must suit {spec.arch}, got {size}"
    with refused(rule, "give a multiple of its patches and windows"), torch.no_grad():
        network = timm.create_model(arch, **settings, **fixed)
        network.eval()(torch.zeros(1, channels, *sides(size)))
    return network


def pretrained(arch: str, spec: ModelSpec, path: Path) -> tuple[nn.Module, tuple[str, ...] | None]:
    """The network with a file's weights, and its classes where the file names as many as there are outputs."""
    content = checkpoint.read(path, spec.name)
    network = create(arch, spec)
    if spec.names_in_order:
        state = weights_file.in_order(content.state, network.state_dict(), spec.name)
    else:
        state = _as_timm_names_them(content.state, network, arch, spec, path)
    settings: dict[str, int] = {}
    heads = {len(state[key]) for key in _head(network) if key in state and state[key].ndim}
    if len(heads) == 1 and heads != {network.num_classes}:
        settings["num_classes"] = heads.pop()
    known = cast(dict, network.pretrained_cfg)
    if (channels := channels_of(state, known)) and channels != channels_of(network.state_dict(), known):
        settings["in_chans"] = channels
    if settings:
        network = create(arch, spec, **settings)
    weights_file.load_strictly(network, state, spec.name, path)
    return network, content.classes


def channels_of(state: Mapping[str, Tensor], known: Mapping[str, Any]) -> int | None:
    """Of the images that the first convolution reads; known: timm's configuration, which names it.

    None where it reads no image itself, but patches of one in a row (NaFlexViT) or on top of each other (TResNet).
    """
    names = known.get("first_conv") or ""
    weight = state.get(f"{names if isinstance(names, str) else names[0]}.weight")
    return None if weight is None or weight.ndim != 4 or weight.shape[1] >= 16 else weight.shape[1]


def _head(network: nn.Module) -> list[str]:
    """The tensors whose first axis is the classes: timm names one classifier or, of distilled networks, several."""
    names = cast(dict, network.pretrained_cfg).get("classifier") or ()
    return [f"{name}.{part}" for name in ((names,) if isinstance(names, str) else names) for part in ("weight", "bias")]


def _as_timm_names_them(
    state: dict[str, Tensor], network: nn.Module, arch: str, spec: ModelSpec, path: Path
) -> dict[str, Tensor]:
    """The tensors under timm's names and in its sizes, the head's aside, as far as its filter knows how."""
    expected, head = network.state_dict(), set(_head(network))
    named = weights_file.under_names_of(expected, state, spec.name, path)
    if _shapes(named, head) == _shapes(expected, head):
        return named
    with_filter = _filter(arch)
    if with_filter is None:
        return named
    bare = _without_shared_words(named, expected)
    filtered = [_filtered(with_filter, tensors, network) for tensors in ([named] if bare is named else [named, bare])]
    wanted = _shapes(expected, head).items()
    best = max([named, *filtered], key=lambda tensors: len(_shapes(tensors, head).items() & wanted))
    if best is not named:
        log.info("%s: %s goes through timm's filter for %s", spec.name, path.name, arch)
    return best


def _filtered(with_filter: Callable[..., dict[str, Tensor]], state: dict[str, Tensor], network: nn.Module) -> dict:
    """Nothing, where the filter fails: it is written for the authors' files, of others anything may be missing."""
    for arguments in ((dict(state), network), (dict(state),)):  # timm, too, tries the second where the first fails
        try:
            return with_filter(*arguments)
        except TypeError:
            continue
        except Exception as error:
            log.debug("timm's filter: %s", one_line(error))
            break
    return {}


def _without_shared_words(state: dict[str, Tensor], expected: Iterable[str]) -> dict[str, Tensor]:
    """Without the words with which all names begin, as ``model.``, unless the architecture's begin so, too."""
    first, last = (key.split(".")[:-1] for key in (min(state, default=""), max(state, default="")))
    shared = [word for word, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))]
    if not shared or shared[0] in {key.split(".")[0] for key in expected}:
        return state
    prefix = ".".join(shared) + "."
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _shapes(state: dict[str, Tensor], head: set[str]) -> dict[str, torch.Size]:
    return {key: torch.Size() if key in head else value.shape for key, value in state.items()}


def _filter(arch: str) -> Callable[..., dict[str, Tensor]] | None:
    """What timm would hand to load_pretrained: it is told there, once, in this thread, and nothing is loaded."""
    filters: list[Callable | None] = []
    this_thread, load_pretrained = threading.get_ident(), _builder.load_pretrained

    def listen(model: nn.Module, *arguments: Any, **settings: Any) -> None:
        if threading.get_ident() == this_thread:
            filters.append(settings.get("filter_fn"))
        else:
            load_pretrained(model, *arguments, **settings)

    # a network on the meta device has shapes without numbers: it takes neither time nor memory
    with _ONE_AT_A_TIME, mock.patch.object(_builder, "load_pretrained", listen), torch.device("meta"):
        timm.create_model(arch, pretrained=True)
    return filters[0] if filters else None
