"""Attention rollout and gradient-weighted rollout, for Vision Transformers.

S. Abnar, W. Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, https://arxiv.org/abs/2005.00928;
H. Chefer, S. Gur, L. Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
Transformers", ICCV 2021, https://arxiv.org/abs/2103.15679, eq. 5-6.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from harmonia.attribution.contract import Explanation, Model, PartByPart, Request, voters_of
from harmonia.attribution.layer import spatial_of
from harmonia.errors import InputError
from harmonia.shapes import Images, Labels, Logits, Maps

LISTS = (nn.Sequential, nn.ModuleList)
MIXED_BY_ATTENTION: WeakSet[Model] = WeakSet()  # alone, as refuse_other_mixing has found; by identity


@dataclass(frozen=True, kw_only=True)
class AttentionRollout(PartByPart, version=2, normalise="minmax"):
    """How much of each patch attention carries to the tokens that the head reads; knows no class."""

    def __call__(self, request: Request) -> Explanation:
        if request.model not in MIXED_BY_ATTENTION:  # one look, whatever the number of shards
            refuse_other_mixing(request.model, request.take(torch.zeros(1, dtype=torch.long)).images())
            MIXED_BY_ATTENTION.add(request.model)
        return super().__call__(request)

    def step(self, attention_BHNN: Tensor, gradient_BHNN: Tensor, flow_BNN: Tensor) -> Tensor:
        """What has come to a block's tokens, from what had come to the block before's."""
        mean_BNN = attention_BHNN.mean(1)
        return (mean_BNN @ flow_BNN + flow_BNN) / 2  # half of a block's output is its input

    def explain(self, part: Request) -> tuple[Maps, Logits, Labels, int]:
        """Maps of the patches' share in the tokens that the head reads, from the first block to the last."""
        with torch.no_grad(), attention(part.model) as passed:
            with torch.enable_grad():
                logits = part.model(part.images())
                labels = part.choose_labels(logits.detach(), part.positions)
                score = logits.gather(1, labels[:, None]).sum()
            blocks = parallel(passed)
            matrices = [matrix for block in blocks for matrix in block]
            of_matrix = dict(zip(map(id, matrices), torch.autograd.grad(score, matrices), strict=True))
            flow_BNN = torch.eye(matrices[0].shape[-1]).to(logits).expand(len(matrices[0]), -1, -1)
            for block in blocks:  # attentions beside each other are one with the heads of both
                attention_BHNN = torch.cat([matrix.detach() for matrix in block], 1)
                gradient_BHNN = torch.cat([of_matrix[id(matrix)] for matrix in block], 1)
                flow_BNN = self.step(attention_BHNN.float(), gradient_BHNN.float(), flow_BNN)
            # of the last block's tokens the head reads those that have a gradient: the class token, or the patches
            last_BHNN = torch.cat([of_matrix[id(matrix)] for matrix in blocks[-1]], 1)
            read_B1N = (last_BHNN != 0).any(3).any(1).to(flow_BNN)[:, None]
            share_BN1 = (read_B1N @ flow_BNN / read_B1N.sum(2, keepdim=True).clamp(min=1)).mT
            return spatial_of(part.model, "attention", share_BN1, part.pixels)[:, 0], logits.detach(), labels, 1


class GradientRollout(AttentionRollout, version=2):
    """The same with every head's attention times its positive gradient of the class's logit (eq. 5-6)."""

    def step(self, attention_BHNN: Tensor, gradient_BHNN: Tensor, flow_BNN: Tensor) -> Tensor:
        mean_BNN = (attention_BHNN * gradient_BHNN).relu().mean(1)
        return mean_BNN @ flow_BNN + flow_BNN


@dataclass(frozen=True, eq=False)
class Passed:
    """What an attention module gave as its matrix: of that module, and in that of these blocks."""

    module: str
    block: str
    matrix_BHNN: Tensor


@contextmanager
def attention(model: Model, replaced: Callable[[str, Tensor], Tensor] | None = None) -> Iterator[list[Passed]]:
    """The attention matrices (B, heads, N, N) of what passes inside, in order, with a graph from them on.

    replaced: (module, matrix) -> what the network takes instead of it.
    Matrices that are not square, or of other images or tokens than the first, are an InputError.
    """
    modules = attention_modules(model)
    block_of = refuse_blocks_without(model, list(modules))
    passed: list[Passed] = []

    def keep(name: str, output: Tensor) -> Tensor:
        shape, first = tuple(output.shape), tuple((passed[0].matrix_BHNN if passed else output).shape)
        if len(shape) != 4 or (shape[0], *shape[2:]) != (first[0], first[-1], first[-1]):
            raise InputError(
                f"rollout: the attention of all blocks must lie between the same tokens, got {shape} (images, heads, "
                f"tokens, tokens) of module {name!r}, a {type(modules[name]).__name__}; use method=gc or a plain "
                "Vision Transformer"
            )
        output = output if replaced is None else replaced(name, output)
        passed.append(Passed(name, block_of[name], output if output.requires_grad else output.requires_grad_()))
        return passed[-1].matrix_BHNN

    with ExitStack() as restored:
        for name, module in modules.items():
            restored.callback(setattr, module, "fused_attn", module.fused_attn)
            module.fused_attn = False  # the fused kernel never holds the matrix
            restored.enter_context(
                module.attn_drop.register_forward_hook(lambda drop, args, output, name=name: keep(name, output))
            )
        yield passed


def attention_modules(model: Model) -> dict[str, Any]:
    """By name; InputError without one, and where one attends within windows."""
    modules: dict[str, Any] = {name: module for name, module in model.named_modules() if hasattr(module, "fused_attn")}
    if voters_of(model) != (model,):
        raise InputError("rollout: networks together have no chain of blocks; use method=ss, or source=vote")
    if not modules:
        raise InputError(
            "rollout: the network has no attention block of timm's whose matrix can be read; use method=gc or a plain "
            "Vision Transformer"
        )
    for name, module in modules.items():
        if not isinstance(getattr(module, "attn_drop", None), nn.Dropout) or hasattr(module, "window_size"):
            raise InputError(
                f"rollout: module {name!r}, a {type(module).__name__}, does not attend over all tokens; "
                "use method=gc or a plain Vision Transformer"
            )
    return modules


def refuse_blocks_without(model: Model, attentions: list[str]) -> dict[str, str]:
    """The block that each attention is a part of; InputError where the list of blocks has some without attention."""
    modules = dict(model.named_modules())
    networks = ("", "network", "classifier", "classifier.network")  # they may be lists themselves
    block_of: dict[str, str] = {}
    for name in attentions:
        parts = name.split(".")
        above = [".".join(parts[:end]) for end in range(1, len(parts))]
        lists = [each for each in above if isinstance(modules[each], LISTS) and each not in networks]
        block_of[name] = ".".join(parts[: lists[0].count(".") + 2]) if lists else name
    for blocks in {block.rpartition(".")[0] for block in block_of.values()}:
        children = [f"{blocks}.{child}" for child, _ in modules[blocks].named_children()]
        with_attention = sum(child in block_of.values() for child in children)
        if isinstance(modules[blocks], LISTS) and with_attention < len(children):
            raise InputError(
                f"rollout: attention stands in {with_attention} of the {len(children)} parts of {blocks!r}, the others "
                "mix tokens in another way; use method=gc or a plain Vision Transformer"
            )
    return block_of


def refuse_other_mixing(model: Model, images: Images) -> None:
    """InputError where tokens hear each other past attention, as through convolutions between its blocks.

    With matrices that mix nothing, a change of one token behind the first attention must stay its own up to the last.
    """
    inputs: list[Tensor] = []

    def mixing_nothing(changed: bool) -> str:
        """The name of the last attention, whose input is kept."""

        def identity(name: str, matrix_BHNN: Tensor) -> Tensor:
            same = torch.eye(matrix_BHNN.shape[-1]).to(matrix_BHNN).expand_as(matrix_BHNN).clone()
            if changed and not passed:
                same[:, :, -1, 0] = 1
            return same

        with torch.no_grad(), attention(model, identity) as passed, ExitStack() as hooks:
            for module in attention_modules(model).values():
                hooks.enter_context(module.register_forward_pre_hook(lambda module, args: inputs.append(args[0])))
            model(images)
        return passed[-1].module

    mixing_nothing(changed=False)
    before = inputs[-1]
    last = mixing_nothing(changed=True)
    change = (inputs[-1] - before).abs()
    places = change.amax(2 if change.ndim == 3 else 1).flatten(1).count_nonzero(1)
    if (places > 1).any():
        raise InputError(
            f"rollout: in front of module {last!r} tokens mix in other ways than attention as well, which rollout does "
            "not see; use method=gc or a plain Vision Transformer"
        )


def parallel(passed: list[Passed]) -> list[list[Tensor]]:
    """Matrices in groups, in order: those of one block of which the later one does not depend on the earlier."""
    groups = [[passed[0].matrix_BHNN]]
    for before, after in pairwise(passed):
        if before.block == after.block and not depends(after.matrix_BHNN, groups[-1][0]):
            groups[-1].append(after.matrix_BHNN)
        else:
            groups.append([after.matrix_BHNN])
    return groups


def depends(later: Tensor, earlier: Tensor) -> bool:
    if later.grad_fn is None:
        return False
    (gradient,) = torch.autograd.grad(later, earlier, torch.zeros_like(later), retain_graph=True, allow_unused=True)
    return gradient is not None
