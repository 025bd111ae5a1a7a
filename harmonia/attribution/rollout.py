"""Attention rollout and gradient-weighted rollout, for Vision Transformers.

S. Abnar, W. Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020, https://arxiv.org/abs/2005.00928;
H. Chefer, S. Gur, L. Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
Transformers", ICCV 2021, https://arxiv.org/abs/2103.15679, eq. 5-6.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harmonia.attribution.contract import Model, PartByPart, Request
from harmonia.errors import InputError
from harmonia.shapes import Labels, Logits, Maps


@dataclass(frozen=True, kw_only=True)
class AttentionRollout(PartByPart, version=2, normalise="minmax"):
    """How much of each patch attention carries to the tokens that the head reads; knows no class."""

    def step(self, attention_BHNN: Tensor, gradient_BHNN: Tensor, flow_BNN: Tensor) -> Tensor:
        """What has come to a block's tokens, from what had come to the block before's."""
        mean_BNN = attention_BHNN.mean(1)
        return (mean_BNN @ flow_BNN + flow_BNN) / 2  # half of a block's output is its input

    def explain(self, part: Request) -> tuple[Maps, Logits, Labels, int]:
        """Maps of the patches' share in the tokens that the head reads, from the first block to the last."""
        with torch.no_grad(), attention(part.model) as matrices:
            with torch.enable_grad():
                logits = part.model(part.images())
                labels = part.choose_labels(logits.detach(), part.positions)
                score = logits.gather(1, labels[:, None]).sum()
            gradients = torch.autograd.grad(score, matrices)
            tokens = matrices[0].shape[-1]
            flow_BNN = torch.eye(tokens).to(logits).expand(len(matrices[0]), -1, -1)
            for attention_BHNN, gradient_BHNN in zip(matrices, gradients, strict=True):
                flow_BNN = self.step(attention_BHNN.detach().float(), gradient_BHNN.float(), flow_BNN)
            # of the last block's tokens the head reads those that have a gradient: the class token, or the patches
            read_B1N = (gradients[-1] != 0).any(3).any(1).to(flow_BNN)[:, None]
            share_BN1 = (read_B1N @ flow_BNN / read_B1N.sum(2, keepdim=True).clamp(min=1)).mT
            return part.model.spatial(share_BN1)[:, 0], logits.detach(), labels, 1


class GradientRollout(AttentionRollout, version=2):
    """The same with every head's attention times its positive gradient of the class's logit (eq. 5-6)."""

    def step(self, attention_BHNN: Tensor, gradient_BHNN: Tensor, flow_BNN: Tensor) -> Tensor:
        mean_BNN = (attention_BHNN * gradient_BHNN).relu().mean(1)
        return mean_BNN @ flow_BNN + flow_BNN


@contextmanager
def attention(model: Model) -> Iterator[list[Tensor]]:
    """The attention matrices (B, heads, N, N) of what passes inside, block by block, with a graph from them on.

    A block whose matrices are not square, or of other images or tokens than the first block's, is an InputError.
    """
    blocks: dict[str, Any] = {name: module for name, module in model.named_modules() if hasattr(module, "fused_attn")}
    if not blocks:
        raise InputError("rollout: the network has no attention block; use it with a Vision Transformer")
    for name, block in blocks.items():
        if not isinstance(getattr(block, "attn_drop", None), nn.Dropout) or hasattr(block, "window_size"):
            raise InputError(
                f"rollout: module {name!r}, a {type(block).__name__}, does not attend over all tokens; "
                "use method=gc or a plain Vision Transformer"
            )
    matrices: list[Tensor] = []

    def keep(name: str, output: Tensor) -> Tensor:
        shape, first = tuple(output.shape), tuple((matrices[0] if matrices else output).shape)
        if len(shape) != 4 or (shape[0], *shape[2:]) != (first[0], first[-1], first[-1]):
            raise InputError(
                f"rollout: the attention of all blocks must lie between the same tokens, got {shape} (images, heads, "
                f"tokens, tokens) of module {name!r}, a {type(blocks[name]).__name__}; use method=gc or a plain Vision "
                "Transformer"
            )
        matrices.append(output if output.requires_grad else output.requires_grad_())
        return matrices[-1]

    with ExitStack() as restored:
        for name, block in blocks.items():
            restored.callback(setattr, block, "fused_attn", block.fused_attn)
            block.fused_attn = False  # the fused kernel never holds the matrix
            restored.enter_context(
                block.attn_drop.register_forward_hook(lambda module, args, output, name=name: keep(name, output))
            )
        yield matrices
