"""Layer-wise relevance propagation with the epsilon rule, by Captum, for networks that are a chain of layers (VGG).

S. Bach, A. Binder, G. Montavon, F. Klauschen, K.-R. Müller, W. Samek, "On Pixel-Wise Explanations for Non-Linear
Classifier Decisions by Layer-Wise Relevance Propagation", PLoS ONE 2015. Captum has rules for modules and none for
what forward functions do between them: an addition in a residual block would hand its relevance to both branches in
full, without a word. So a network is refused, by the module's name, where a module has no rule or where anything but
a change of shape happens between modules.
"""

import copy
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from captum.attr import LayerLRP
from captum.attr._core.lrp import SUPPORTED_LAYERS_WITH_RULES, SUPPORTED_NON_LINEAR_LAYERS
from captum.attr._utils.lrp_rules import EpsilonRule
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from harmonia.attribution.contract import Explanation, Model, Request
from harmonia.attribution.head import Head
from harmonia.attribution.layer import AtLayer
from harmonia.errors import InputError, Within
from harmonia.shapes import Images, Labels, Logits, Maps

WITH_RULE = (*SUPPORTED_LAYERS_WITH_RULES, *SUPPORTED_NON_LINEAR_LAYERS)
SHAPE_ONLY = (nn.Identity, nn.Flatten)  # linear without weights: the epsilon rule holds
HARMLESS = {"flatten", "unflatten", "reshape", "view", "permute", "contiguous", "float", "__get__", "__getitem__"}


@dataclass(frozen=True, kw_only=True)
class LRP(AtLayer, version=2, normalise="percentile", auto="input"):
    """Relevance of the class's logit at a layer, summed over channels (epsilon rule, eq. 58).

    It sums to the logit but for what biases and epsilon take.
    """

    epsilon: Annotated[float, Within(1e-30, 10**6)] = 1e-9  # as Captum

    def __call__(self, request: Request) -> Explanation:
        layer = self.layer_of(request.model)
        check_modules(request.model)
        with torch.no_grad():
            check_functions(request.model, request.take(torch.tensor([0])).images())
        altered, end = copy_to_alter(request.model, layer)

        def explain(part: Request) -> tuple[Maps, Logits, Labels, int]:
            with torch.no_grad():
                head = Head(part.model, layer, part.images())
                labels = part.choose_labels(head.logits, part.positions)
                # three passes: the images' own and Captum's two; the single image that was looked at is left out
                return self._relevance(part, labels, altered, end), head.logits, labels, 3

        return request.explain(explain)

    def _relevance(self, part: Request, chosen: Labels, model: Any, end: "Copy") -> Maps:
        # Captum scales a layer's relevance by the logit of the input in the same place: of a mosaic, whose images stand
        # in many places, that is the right one where it is alone
        at_once = 1 if part.images_per_input > 1 else len(chosen)
        maps = []
        for images, labels in zip(part.images().split(at_once), chosen.split(at_once), strict=True):
            for module in model.modules():  # Captum takes the rules away each time
                if is_leaf(module) and type(module) not in SUPPORTED_NON_LINEAR_LAYERS:
                    setattr(module, "rule", EpsilonRule(epsilon=self.epsilon))  # noqa: B010
            with torch.enable_grad():
                relevance: Any = LayerLRP(model, end).attribute(images.requires_grad_(), target=labels)
            maps.append(model.spatial(relevance.detach()).sum(1).float())
        return torch.cat(maps)


class Copy(nn.Module):
    """The identity as a tensor of its own: on one and the same tensor Captum's hooks run in the wrong order."""

    def forward(self, features: Tensor) -> Tensor:
        return features.clone()


def copy_to_alter(model: Model, layer: str) -> tuple[Any, Copy]:
    """A copy of the model, because Captum alters it on the way, and the module that passes the layer's output on.

    Captum knows the relevance behind modules with a rule alone: neither behind a ReLU nor behind a chain of modules.
    """
    altered: Any = copy.deepcopy(model)
    asked, end = altered.layer(layer), Copy()
    for parent in list(altered.modules()):
        for name, child in list(parent.named_children()):
            known = Copy() if isinstance(child, nn.Identity) else child
            if child is asked:
                known = nn.Sequential(known, end)
            setattr(parent, name, known)
    for module in altered.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return altered, end


def is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None


def check_modules(model: Model) -> None:
    """InputError naming the first module without a rule."""
    for name, module in model.named_modules():
        if is_leaf(module) and type(module) not in (*WITH_RULE, *SHAPE_ONLY):
            raise InputError(
                f"LRP: module {name!r}, a {type(module).__name__}, has no rule; it works for chains of convolution, "
                "pooling, batch norm, ReLU and linear layers (timm's vgg*); use another method or network"
            )


def check_functions(model: Any, image: Images) -> None:
    """InputError naming the module that computes something between its parts, from the input on."""
    guard = RuleGuard()
    start = model.layer("input")

    def leave(module: nn.Module, args: tuple, output: Tensor) -> None:
        guard.at_work.pop()
        guard.started |= module is start

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            enter = partial(lambda name, module, args: guard.at_work.append((name, module)), name)
            hooks.enter_context(module.register_forward_pre_hook(enter))
            hooks.enter_context(module.register_forward_hook(leave))
        with guard:
            model(image)


class RuleGuard(TorchFunctionMode):
    """Refuses what is computed while no module with a rule is at work."""

    def __init__(self):
        super().__init__()
        self.at_work: list[tuple[str, nn.Module]] = []  # innermost last
        self.started = False  # whether the image has been normalised

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        does = getattr(func, "__name__", str(func))
        if self.started and self.at_work and isinstance(result, Tensor) and does not in HARMLESS:
            name, module = self.at_work[-1]
            if not is_leaf(module):
                raise InputError(
                    f"LRP: module {name!r}, a {type(module).__name__}, computes {does.strip('_')!r} between its parts, "
                    "for which there is no rule; use another method, or a network without such blocks (timm's vgg*)"
                )
        return result
