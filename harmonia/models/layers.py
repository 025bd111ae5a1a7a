"""Where in a timm network attribution looks unless told: its last feature map, and the place behind a normalisation."""

from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from harmonia.attribution.layer import CANCELLED, uncancelled
from harmonia.errors import InputError
from harmonia.shapes import Images


def last_feature_map(network: Any, probe: Images, arch: str) -> str:
    """The outermost module that gives the last feature map before pooling; of a ViT the last block but one.

    Behind the last block a class token no longer hears the patches: their gradients are exactly 0.
    """
    blocks = getattr(network, "blocks", None)
    outputs: list[tuple[str, Tensor]] = []
    with ExitStack() as hooks, torch.no_grad():
        for name, module in network.named_modules():
            if name:
                keep = partial(lambda name, module, args, output: outputs.append((name, output)), name)
                hooks.enter_context(module.register_forward_hook(keep))
        last = network.forward_features(probe)
    if last.ndim == 3:
        if not isinstance(blocks, nn.Sequential | nn.ModuleList) or len(blocks) < 2:
            raise InputError(f"{arch}: no default layer is known for these tokens; give layer=NAME")
        return f"blocks.{len(blocks) - 2}"
    # several modules may pass the same tensor on (a stage, its last block, its activation): the outermost names it,
    # of two beside each other the later one, which may have worked in place
    names = [name for name, output in reversed(outputs) if isinstance(output, Tensor) and output is last]
    if not names:
        raise InputError(f"{arch}: no module gives the last feature map; give layer=NAME")
    return min(names, key=lambda name: (name.count("."), len(name)))


def behind_normalisation(network: Any, probe: Images, layer: str) -> str:
    """The layer or, where the logits take no notice of the scale of its tokens, the normalisation that reads them.

    So it is in ViTs with a class token, whose last block reads patches through its first normalisation alone. Features
    times gradients sum to 0 there at every token, whatever the class (Euler's theorem); behind it they do not.
    """
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
        (gradients,) = torch.autograd.grad(network(probe).float().amax(1).sum(), outputs[0])
    patches = slice(getattr(network, "num_prefix_tokens", 0), None)
    products = (outputs[0].detach() * gradients)[:, patches].double()
    normalised = read[0] is outputs[0] and bool((uncancelled(products, -1) < CANCELLED).all())
    return f"blocks.{len(blocks) - 1}.norm1" if normalised else layer
