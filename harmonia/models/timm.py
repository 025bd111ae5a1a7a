"""Networks of timm, the default kind: source=timm source.arch=NAME."""

import dataclasses
import difflib
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property, partial
from typing import Any, cast

import timm
import torch
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from harmonia.attribution.layer import CANCELLED, uncancelled
from harmonia.errors import InputError
from harmonia.models import weights as weights_file
from harmonia.models.classes import class_file
from harmonia.models.contract import MIDDLE_STRIDE, Built, Structure
from harmonia.models.pretrained import create, pretrained
from harmonia.models.spec import ModelSpec
from harmonia.shapes import Images, Logits


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
            network = create(arch, spec, num_classes=len(class_file(spec)) if spec.classes else 1000)
        return made_by_timm(network, spec.name)
    path = weights_file.find_weights(str(spec.weights), spec.name, arch, spec.weights_folder)
    network, classes = pretrained(arch, spec, path)
    return dataclasses.replace(made_by_timm(network, spec.name), classes=classes)


def made_by_timm(network: nn.Module, name: str) -> Built:
    """Of a network that timm has made."""
    known = cast(Mapping[str, Any], network.pretrained_cfg)
    config = resolve_data_config({}, pretrained_cfg=dict(known))
    channels, height, width = config["input_size"]
    if channels != 3 or height != width:
        raise InputError(f"{name}: the input must be square RGB, got {config['input_size']}; take another arch")
    same = {key: config[key] for key in ("crop_pct", "crop_mode", "interpolation")}
    return Built(
        network=network,
        arch=known["architecture"],
        structure=TimmStructure,
        transform={"size": height, "mean": tuple(config["mean"]), "std": tuple(config["std"]), **same},
        num_classes=cast(int, network.num_classes),
    )


def _refuse_unknown_tag(spec: ModelSpec, arch: str) -> None:
    try:
        timm.get_pretrained_cfg(arch)
    except RuntimeError as error:  # timm: "Invalid pretrained tag (...) for ..."
        known = timm.list_pretrained(f"{arch.split('.')[0]}.*") or ["none"]
        raise InputError(f"{spec.name}: {str(error).splitlines()[0].rstrip('.')}; known: {', '.join(known)}") from error


class TimmStructure(Structure):
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

        Behind the last block a class token no longer hears the patches: their gradients are exactly 0.
        """
        network = self.network
        blocks = getattr(network, "blocks", None)
        outputs: list[tuple[str, Tensor]] = []
        with ExitStack() as hooks, torch.no_grad():
            for name, module in network.named_modules():
                if name:
                    keep = partial(lambda name, module, args, output: outputs.append((name, output)), name)
                    hooks.enter_context(module.register_forward_hook(keep))
            last = network.forward_features(self.probe())
        if last.ndim == 3:
            if not isinstance(blocks, nn.Sequential | nn.ModuleList) or len(blocks) < 2:
                raise InputError(f"{self.arch}: no default layer is known for these tokens; give layer=NAME")
            return f"blocks.{len(blocks) - 2}"
        # several modules may pass the same tensor on (a stage, its last block, its activation): the outermost names
        # it, of two beside each other the later one, which may have worked in place
        names = [name for name, output in reversed(outputs) if isinstance(output, Tensor) and output is last]
        if not names:
            raise InputError(f"{self.arch}: no module gives the last feature map; give layer=NAME")
        return min(names, key=lambda name: (name.count("."), len(name)))

    @cached_property
    def middle(self) -> str:
        """As ResNet's Conv3_x in Rao, Böhle, Schiele 2022; of a ViT the output of the first half of its blocks."""
        stages = list(getattr(self.network, "feature_info", None) or [])
        if not stages:
            raise InputError(f"{self.arch}: timm names no feature maps of it; give a module's name as the layer")
        eighth = [stage["module"] for stage in stages if stage["reduction"] == MIDDLE_STRIDE]
        return eighth[-1] if eighth else stages[(len(stages) - 1) // 2]["module"]

    @cached_property
    def normalised(self) -> str:
        """The final layer or, where the logits take no notice of its tokens' scale, the normalisation that reads them.

        So it is in ViTs with a class token, whose last block reads patches through its first normalisation alone.
        Features times gradients sum to 0 there at every token, whatever the class (Euler's theorem); behind it not.
        """
        network, layer = self.network, self.final
        blocks = getattr(network, "blocks", None)
        if blocks is None or layer != f"blocks.{len(blocks) - 2}" or not hasattr(blocks[-1], "norm1"):
            return layer
        outputs: list[Tensor] = []
        read: list[Tensor] = []

        def keep(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
            outputs.append(output.detach().requires_grad_())
            return outputs[0]

        note = blocks[-1].norm1.register_forward_pre_hook(lambda module, args: read.append(args[0]))
        with note, blocks[-2].register_forward_hook(keep), torch.enable_grad():
            (gradients,) = torch.autograd.grad(network(self.probe()).float().amax(1).sum(), outputs[0])
        products = (outputs[0].detach() * gradients)[:, self.prefix_tokens(0) :].double()
        normalised = read[0] is outputs[0] and bool((uncancelled(products, -1) < CANCELLED).all())
        return f"blocks.{len(blocks) - 1}.norm1" if normalised else layer

    def channels_last(self, activations: Tensor) -> bool:
        # timm's hierarchical transformers (Swin, ...) say NHWC; convolutional networks say nothing. The image itself is
        # NCHW for all: its equal axes, every view being square, are the last two
        says = getattr(self.network, "output_fmt", "NCHW") == "NHWC"
        return says and activations.shape[1] == activations.shape[2]

    def prefix_tokens(self, tokens: int) -> int:
        return getattr(self.network, "num_prefix_tokens", 0)

    def token_grid(self, tokens: int) -> tuple[int, int]:
        grid = getattr(getattr(self.network, "patch_embed", None), "grid_size", None)
        if grid is not None and grid[0] * grid[1] == tokens:
            return grid[0], grid[1]
        return super().token_grid(tokens)
