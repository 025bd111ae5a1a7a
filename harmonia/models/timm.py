"""Networks of timm, the default kind: source=timm source.arch=NAME."""

import dataclasses
import difflib
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cached_property, partial
from typing import Any, cast

import timm
import torch
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from harmonia.attribution.layer import CANCELLED, uncancelled
from harmonia.attribution.rollout import LISTS
from harmonia.errors import InputError, one_line
from harmonia.models import weights as weights_file
from harmonia.models.classes import given_classes
from harmonia.models.contract import MIDDLE_STRIDE, Built
from harmonia.models.facts import facts_of
from harmonia.models.pretrained import channels_of, create, pretrained
from harmonia.models.probed import FeatureMap, ProbedStructure
from harmonia.models.spec import ModelSpec
from harmonia.shapes import Images, Logits, Size

log = logging.getLogger(__name__)

NORMS = (nn.LayerNorm, nn.BatchNorm2d, nn.GroupNorm)


def build(spec: ModelSpec, seed: int) -> Built:
    arch = spec.arch.removeprefix("timm/")
    bare = arch.split(".")[0]
    if not timm.is_model(bare):
        near = difflib.get_close_matches(bare, timm.list_models(), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()"
        raise InputError(f"{spec.name}: timm {timm.__version__} has no model {bare!r}; {hint}")
    _refuse_unknown_tag(spec, arch)
    if spec.weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = create(arch, spec, num_classes=len(given_classes(spec)) if spec.classes else 1000)
        return made_by_timm(network)
    path = weights_file.find_weights(str(spec.weights), spec.name, arch, spec.weights_folder)
    network, classes = pretrained(arch, spec, path)
    known = made_by_timm(network)
    return dataclasses.replace(known, classes=classes or known.classes)


def made_by_timm(network: nn.Module) -> Built:
    """Of a network that timm has made."""
    known = cast(Mapping[str, Any], network.pretrained_cfg)
    config = resolve_data_config({}, pretrained_cfg=dict(known))
    _, height, width = config["input_size"]
    channels = channels_of(network.state_dict(), known) or known["input_size"][0]
    colours = {key: tuple(config[key]) for key in ("mean", "std")}
    if channels != 3:  # timm has such numbers of RGB alone
        colours = {key: (sum(values) / len(values),) * channels for key, values in colours.items()}
    same = {key: config[key] for key in ("crop_pct", "crop_mode", "interpolation")}
    return Built(
        network=network,
        arch=known["architecture"],
        structure=TimmStructure,
        transform={"size": (height, width), **colours, **same},
        num_classes=cast(int, network.num_classes),
        channels=channels,
        classes=tuple(known["label_names"]) if known.get("label_names") else None,  # of a config of the hub
    )


def changes(built: Built, made_for: Size | None, reshape: Callable[[Tensor], Tensor] | None) -> dict[str, Any]:
    """What tells a network from the one that timm makes under its name: nothing, unless it was changed."""
    settings: dict[str, Any] = {"num_classes": built.num_classes, "in_chans": built.channels}
    settings |= {} if made_for is None else {"img_size": made_for}
    facts = facts_of(built.network, reshape)
    try:
        with torch.device("meta"):  # shapes without numbers take neither time nor memory
            usual = facts_of(timm.create_model(built.arch, **settings))
    except Exception as error:  # whatever timm says of settings; all facts tell it apart as well
        log.debug("timm cannot make %s again: %s", built.arch, one_line(error))
        return facts
    return {key: value for key, value in facts.items() if value != usual.get(key)}


def _refuse_unknown_tag(spec: ModelSpec, arch: str) -> None:
    try:
        timm.get_pretrained_cfg(arch)
    except RuntimeError as error:  # timm: "Invalid pretrained tag (...) for ..."
        known = timm.list_pretrained(f"{arch.split('.')[0]}.*") or ["none"]
        raise InputError(f"{spec.name}: {str(error).splitlines()[0].rstrip('.')}; known: {', '.join(known)}") from error


class TimmStructure(ProbedStructure):
    """timm's own words: forward_features, forward_head, feature_info, num_prefix_tokens, output_fmt."""

    @property
    def representation_size(self) -> int:
        return self.network.head_hidden_size

    def features(self, images: Images) -> Tensor:
        return self.network.forward_features(images)

    def head(self, features: Tensor) -> Logits:
        return self.network.forward_head(features)

    def represent(self, images: Images) -> tuple[Logits, Tensor]:
        features = self.features(images)
        representation = self.network.forward_head(features, pre_logits=True)
        return self.head(features), representation.flatten(1)

    @cached_property
    def final(self) -> str:
        """The outermost module that gives the last feature map before pooling; of a ViT the last block but one.

        Behind the last block a class token no longer hears the patches: their gradients are exactly 0. Where the last
        tokens hold a class token that came late, or none, the last module in a list whose map the class depends on.
        """
        last, outputs = self._last_pass()
        name = self._block_before_last
        before = outputs.get(name)
        if last.ndim == 3 and isinstance(before, Tensor) and before.shape[:2] == last.shape[:2]:
            self.check_place(name)
            return name
        # several modules may pass the same tensor on (a stage, its last block, its activation): the outermost names
        # it, of two beside each other the later one, which may have worked in place
        names = [name for name, output in reversed(outputs.items()) if output is last]
        whole = min(names, key=lambda name: (name.count("."), len(name)), default="")
        if whole and last.ndim == 4:
            return whole
        maps = self._places
        read = next((each.name for each in maps if each.name == whole and len(each.shape) == 3), "")
        if not read:
            listed = [each.name for each in maps if not isinstance(self.module(each.name), NORMS)]
            read = (listed or [each.name for each in maps] or [""])[-1]
        if not read:
            raise self.nothing_found()
        self.check_place(read)
        return read

    @property
    def _block_before_last(self) -> str:
        """Of a network that is one list of blocks."""
        blocks: Any = getattr(self.network, "blocks", None)
        return f"blocks.{len(blocks) - 2}" if isinstance(blocks, LISTS) and len(blocks) > 1 else ""

    def _last_pass(self) -> tuple[Tensor, dict[str, Any]]:
        """What forward_features gives of the probe, and what all modules gave on the way, the last call of each."""
        outputs: dict[str, Any] = {}

        def keep(name: str, module: nn.Module, args: tuple, output: Any) -> None:
            outputs.pop(name, None)
            outputs[name] = output

        with ExitStack() as hooks, torch.no_grad():
            for name, module in self.network.named_modules():
                if name:
                    hooks.enter_context(module.register_forward_hook(partial(keep, name)))
            last = self.network.forward_features(self.probe())
        if not isinstance(last, Tensor):
            raise InputError(
                f"{self.arch}: it ends in {len(last)} feature maps, no one of which feeds all of its logits; "
                "give layer=NAME"
            )
        return last, outputs

    @cached_property
    def _ends_in_tokens(self) -> bool:
        return self._last_pass()[0].ndim == 3

    @cached_property
    def _places(self) -> list[FeatureMap]:
        """Feature maps that the class depends on: of lists, of their modules, and of normalisations."""

        def is_place(name: str) -> bool:
            around = self.module(name.rpartition(".")[0])
            return isinstance(around, LISTS) or isinstance(self.module(name), (*LISTS, *NORMS))

        return [each for each in self.feature_maps if is_place(each.name) and each.is_read]

    @cached_property
    def middle(self) -> str:
        """As ResNet's Conv3_x in Rao, Böhle, Schiele 2022; of a ViT the output of the first half of its blocks.

        Where the module that timm names gives no feature map, the one nearest to an eighth of the image's size.
        """
        stages = list(getattr(self.network, "feature_info", None) or [])
        if not stages:
            raise InputError(f"{self.arch}: timm names no feature maps of it; give a module's name as the layer")
        eighth = [stage["module"] for stage in stages if stage["reduction"] == MIDDLE_STRIDE]
        name = eighth[-1] if eighth else stages[(len(stages) - 1) // 2]["module"]
        if self._maps_of(self._last_pass()[1].get(name), 1) is not None:
            return name
        seen = self._middle_by_looking()
        if seen is None:
            raise InputError(f"{self.arch}: timm's middle, {name!r}, gives no one feature map; give layer=NAME")
        self.check_place(seen)
        return seen

    def _middle_by_looking(self) -> str | None:
        """The last map at the size nearest to an eighth of the image's; None where the image has ways past it."""
        maps = [each for each in self._places if not isinstance(self.module(each.name), NORMS)] or self._places
        far = [abs(each.rows - self.height / MIDDLE_STRIDE) for each in maps]
        name = next((each.name for each, near in zip(maps[::-1], far[::-1], strict=True) if near == min(far)), None)
        if name is None:
            return None
        images = self.probe().requires_grad_()
        with self.module(name).register_forward_hook(lambda *call: call[2].detach()), torch.enable_grad():
            score = self.logits(images).sum()
        past = score.requires_grad and torch.autograd.grad(score, images, allow_unused=True)[0] is not None
        return None if past else name

    @cached_property
    def normalised(self) -> str:
        """The final layer or, where the logits take no notice of its tokens' scale, the normalisation that reads them.

        So it is in ViTs with a class token, whose last block reads patches through its first normalisation alone.
        Features times gradients sum to 0 there at every token, whatever the class (Euler's theorem); behind it not.
        """
        network, layer = self.network, self.final
        blocks: Any = getattr(network, "blocks", None)
        if not self._ends_in_tokens:
            return layer
        if layer != self._block_before_last or not hasattr(blocks[-1], "norm1"):
            return self._normalised_by_looking()
        outputs: list[Tensor] = []
        read: list[Tensor] = []

        def keep(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
            outputs.append(output.detach().requires_grad_())
            return outputs[0]

        note = blocks[-1].norm1.register_forward_pre_hook(lambda module, args: read.append(args[0]))
        with note, blocks[-2].register_forward_hook(keep), torch.enable_grad():
            (gradients,) = torch.autograd.grad(network(self.probe()).float().amax(1).sum(), outputs[0])
        products = (outputs[0].detach() * gradients)[:, self.prefix_tokens(gradients.shape[1]) :].double()
        normalised = read[0] is outputs[0] and bool((uncancelled(products, -1) < CANCELLED).all())
        return f"blocks.{len(blocks) - 1}.norm1" if normalised else layer

    def channels_last(self, activations: Tensor) -> bool:
        # timm's hierarchical transformers (Swin, ...) say NHWC; others have such layers inside and say nothing. The
        # image itself is NCHW for all: its rows and columns are the last two
        first, last = self.axes_in_aspect(activations.shape)
        return first and (not last or getattr(self.network, "output_fmt", "NCHW") == "NHWC")

    def prefix_tokens(self, tokens: int) -> int:
        says = getattr(self.network, "num_prefix_tokens", None)
        if says is None:
            return super().prefix_tokens(tokens)
        late = self.grid_of(tokens - says) is None and self.grid_of(tokens) is not None  # the class token comes later
        return 0 if late else says

    def token_grid(self, tokens: int) -> tuple[int, int]:
        grid = getattr(getattr(self.network, "patch_embed", None), "grid_size", None)
        if grid is not None and grid[0] * grid[1] == tokens:
            return grid[0], grid[1]
        return super().token_grid(tokens)

    def token_order(self, tokens: int) -> Tensor | None:
        """Of Hiera, whose tokens stand window by window until a pooling has merged them."""
        reroll = getattr(self.network, "reroll", None)
        if reroll is None:
            return None
        numbers = torch.arange(tokens)[None, :, None]
        blocks = (block for block, (_, size) in reroll.schedule.items() if math.prod(size) == tokens)
        block = next(blocks, None)
        return None if block is None else reroll(numbers, block).flatten()

    def _normalised_by_looking(self) -> str:
        """The final layer or, where its tokens' scale is normalised away, the normalisation that reads them."""
        maps = self.feature_maps
        place = next((index for index, each in enumerate(maps) if each.name == self.final), None)
        if place is None or not maps[place].cancels:
            return self.final
        behind = [each.name for each in maps[place + 1 :] if each.is_read and not each.cancels]
        if not behind or not self._reads_all(behind[0]):
            raise InputError(
                f"{self.arch}: behind {self.final!r} several normalisations take its tokens' scale away, features "
                "times gradients sum to 0 there; use method=gc"
            )
        return behind[0]

    def _reads_all(self, layer: str) -> bool:
        """Whether the final layer's patches reach the class through this layer alone."""
        outputs: list[Tensor] = []

        def keep(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
            outputs.append(output.detach().requires_grad_())
            return outputs[-1]

        final, reader = self.module(self.final), self.module(layer)
        cut = reader.register_forward_hook(lambda module, args, output: output.detach())
        with final.register_forward_hook(keep), cut, torch.enable_grad():
            score = self.logits(self.probe()).float().amax(1).sum()
        if not score.requires_grad:
            return True
        (gradient,) = torch.autograd.grad(score, outputs[0], allow_unused=True)
        return gradient is None or not self.spatial(gradient).any()
