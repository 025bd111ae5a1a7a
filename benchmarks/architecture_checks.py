"""Checks of architectures.py: a method against plain PyTorch, written out, and by place; Wrong says what differs."""

import copy
import sys
from contextlib import ExitStack
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from harmonia.attribution import passes
from harmonia.attribution.cam import GradCAM, HiResCAM
from harmonia.attribution.contract import Request
from harmonia.attribution.gradient import InputXGradient
from harmonia.attribution.rollout import AttentionRollout
from harmonia.evaluation.mosaics.presentation import PerCell, on_mosaics, paste
from harmonia.models.classifier import Classifier

N = 2  # images a side of a mosaic
CLOSE = 1e-4  # of a map's range


class Wrong(Exception):
    """What differs."""


def noise(count: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def explained(method: Any, model: Any, pixels: Tensor) -> Tensor:
    """Raw maps of the predicted classes, (B, h, w)."""
    return method(
        Request(
            model=model,
            pixels=pixels,
            choose_labels=lambda logits, positions: logits.argmax(1),
            replacements=lambda *asked: sys.exit("no replacement images are asked for"),
            device=torch.device("cpu"),
            batch_size=passes.BatchSize(1),
            positions=torch.arange(len(pixels)),
            image_keys=np.arange(len(pixels), dtype=np.uint64),
            on_progress=lambda images: None,
        )
    ).maps


def check_cam(method: GradCAM | HiResCAM, model: Any, pixels: Tensor, places: tuple[int, ...] = (0, 1, 2, 3)) -> None:
    """Against autograd through the whole network, and by place: noise pasted into a quarter changes the map there."""
    name = model.layer_name(method.auto)
    if isinstance(method, HiResCAM) and name == model.layer_name("final"):
        places = ()  # they are looked at with Grad-CAM
    features, gradients = map(model.spatial, plain_gradient(model, name, pixels))
    weights = gradients.mean((2, 3), keepdim=True) if isinstance(method, GradCAM) else gradients
    compare(explained(method, model, pixels), (weights * features).sum(1), "autograd's map")
    if not places:
        return
    side = pixels.shape[-1] // 2
    quarters = [(slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)) for row, column in
                product((0, 1), (0, 1))]  # fmt: skip
    pasted = pixels.repeat(len(places), 1, 1, 1)
    for image, place in zip(pasted, places, strict=True):
        image[:, *quarters[place]] = noise(1, side, seed=1)[0]
    changes = []
    for image in pasted:
        change = model.spatial(plain_output(model, name, image[None])) - features
        change = change - change.mean((2, 3), keepdim=True)  # without what all places share
        changes.append(adaptive_avg_pool2d(change.abs().sum(1), 2).flatten()[list(places)])
    shares = torch.stack(changes)  # a pasted quarter, a quarter of the map
    for _ in range(10):  # some noise changes more than other, some places react more than others to anything
        shares = shares / shares.sum(0)
        shares = shares / shares.sum(1, keepdim=True)
    largest = shares.argmax(0).tolist()
    if largest != list(range(len(places))):
        raise Wrong(f"the quarters {places} of the map change most by noise in {[places[each] for each in largest]}")


def plain_output(model: Any, name: str, pixels: Tensor) -> Tensor:
    outputs: list[Tensor] = []
    with model.layer(name).register_forward_hook(lambda *call: outputs.append(call[2].clone())), torch.no_grad():
        model(pixels.float() / 255)
    return outputs[-1]


def plain_gradient(model: Any, name: str, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's output and the largest logit's gradient there, by backward through the whole network."""
    outputs: list[Tensor] = []

    def keep(module: torch.nn.Module, args: tuple, output: Tensor) -> Tensor:
        outputs.append(output)
        output.retain_grad()
        return output.clone()  # layers behind may work in place

    with model.layer(name).register_forward_hook(keep), torch.enable_grad():
        model((pixels.float() / 255).requires_grad_()).amax(1).sum().backward()
    gradient = outputs[-1].grad
    assert gradient is not None, name
    return outputs[-1].detach(), gradient


def compare(ours: Tensor, expected: Tensor, name: str) -> None:
    if ours.shape != expected.shape:
        raise Wrong(f"the map is {tuple(ours.shape)}, {name} {tuple(expected.shape)}")
    if expected.max() == expected.min():
        raise Wrong(f"{name} is {expected.max():g} everywhere, which anything equals")
    far = (ours - expected).abs().max() / (expected.max() - expected.min())
    if not far < CLOSE:
        raise Wrong(f"{far:.0e} of its range from {name}")


def check_input_x_gradient(classifier: Classifier, pixels: Tensor) -> None:
    images = (pixels.float() / 255).requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(classifier(images).amax(1).sum(), images)
    normalised = (pixels / 255 - classifier.mean) / classifier.std
    compare(
        explained(InputXGradient(), classifier, pixels), (normalised * gradient * classifier.std).sum(1), "autograd's"
    )


def check_rollout(classifier: Classifier, pixels: Tensor) -> None:
    """Against the product written out; and with attention that mixes nothing no token hears another."""
    ours = explained(AttentionRollout(), classifier, pixels[:1])
    network = copy.deepcopy(classifier.network)
    matrices: list[Tensor] = []

    def keep(module: Any, args: tuple, output: Tensor, alone: bool) -> Tensor:
        matrices.append(output)
        return torch.eye(output.shape[-1]).expand_as(output) if alone else output

    modules = [module for module in network.modules() if hasattr(module, "fused_attn")]
    images = (pixels / 255 - classifier.mean) / classifier.std
    for module in modules:
        module.fused_attn = False

    def features(images: Tensor, alone: bool) -> Tensor:
        matrices.clear()
        with ExitStack() as hooks, torch.no_grad():
            for module in modules:
                hooks.enter_context(module.attn_drop.register_forward_hook(partial(keep, alone=alone)))
            return network.forward_features(images)

    features(images[:1], alone=False)
    tokens = matrices[0].shape[-1]
    flow = torch.eye(tokens)
    for matrix in matrices:
        flow = (matrix[0].mean(0) + torch.eye(tokens)) / 2 @ flow
    prefix = classifier.network.num_prefix_tokens
    pooled = network.global_pool == "avg"
    share = flow[prefix:].mean(0) if pooled else flow[:1 + ("distilled" in classifier.arch)].mean(0)  # fmt: skip
    compare(ours, classifier.spatial(share[None, :, None])[:, 0], "the product of mean attentions")
    alone = features(images, alone=True)
    if not pooled and not torch.equal(alone[:1, 0], alone[1:2, 0]):
        raise Wrong("the class token hears the patches past attention")
    if pooled:
        # behind a convolutional stem, whose cells see more of the image than their own square
        with network.patch_embed.register_forward_hook(lambda *call: first_half_of_another(call[2])):
            halves = features(images[:2], alone=True)
        changed = classifier.spatial(halves - alone[:1]).abs().sum(1)[0]
        if changed[len(changed) // 2 + 1 :].any():
            raise Wrong("patches hear each other past attention")


def first_half_of_another(tokens: Tensor) -> Tensor:
    """The first image's, the first half of them from the second."""
    half = tokens.shape[1] // 2
    return torch.cat([tokens[1:2, :half], tokens[:1, half:]], 1)


def check_gridpg(classifier: Classifier, pixels: Tensor) -> None:
    """Grad-CAM on a whole mosaic."""
    check_cam(GradCAM(), on_mosaics(classifier, N, "interpolated"), paste(pixels, N), places=(1, 2))


def check_difull(classifier: Classifier, pixels: Tensor) -> None:
    """Of a cell the logits and the map are those of its image alone; weights are means over N * N times the places."""
    whole = paste(pixels, N)
    presented = PerCell(classifier, N, cell=0)
    with torch.no_grad():
        compare(presented(whole / 255), classifier(pixels[:1] / 255), "its image's logits")
    map_ = explained(GradCAM(), presented, whole)
    side = map_.shape[-1] // N
    compare(map_[:, :side, :side], explained(GradCAM(), classifier, pixels[:1]) / N**2, "its image's map")
