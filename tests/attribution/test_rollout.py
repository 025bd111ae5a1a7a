import pytest
import timm
import torch
from timm.models.vision_transformer import ParallelThingsBlock
from torch import nn

from harmonia.attribution.rollout import AttentionRollout, GradientRollout
from harmonia.errors import InputError


@pytest.fixture
def vit(toy):
    def make(**options):
        torch.manual_seed(0)
        return toy(timm.create_model("test_vit", num_classes=4, img_size=64, **options), 64)

    return make


def matrices(model, images, label):
    """Attention of every block and its gradient, by the formula of softmax attention."""
    attentions = []

    def recompute(module, args, output):
        (x,) = args[:1]
        batch, tokens, _ = x.shape
        q, k, _ = module.qkv(x).reshape(batch, tokens, 3, module.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        attentions.append((q @ k.mT * module.scale).softmax(-1))

    hooks = [block.attn.register_forward_hook(recompute) for block in model.network.blocks]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return attentions


def test_rollout_is_the_product_of_the_mean_attentions_and_the_identity(vit, noise, explain):
    model, pixels = vit(), noise(2, 64)
    flow = torch.eye(17)
    for attention in matrices(model, pixels / 255, 0):
        flow = (0.5 * attention.mean(1) + 0.5 * torch.eye(17)) @ flow
    found = explain(AttentionRollout(), model, pixels)
    torch.testing.assert_close(found.maps, flow[:, 0, 1:].reshape(2, 4, 4))
    # rows stay distributions over all tokens
    torch.testing.assert_close(flow.sum(-1), torch.ones(2, 17))


def test_gradient_rollout_is_equations_5_and_6(vit, noise, explain):
    model, pixels, labels = vit(), noise(2, 64), torch.tensor([1, 3])
    step = 1e-3
    attentions = matrices(model, pixels / 255, labels)
    explanation = explain(GradientRollout(), model, pixels, labels)
    # the last block's gradient by finite differences along one entry, the whole formula by autograd
    last = model.network.blocks[-1].attn

    def logits_with(change):
        last.fused_attn = False
        hook = last.attn_drop.register_forward_hook(lambda m, a, output: output + change)
        try:
            with torch.no_grad():
                return model(pixels / 255)
        finally:
            hook.remove()
            last.fused_attn = True

    change = torch.zeros_like(attentions[-1])
    change[:, 0, 0, 5] = step
    slope = ((logits_with(change) - logits_with(-change)) / (2 * step)).gather(1, labels[:, None])[:, 0]
    gradients = autograd_of(model, pixels / 255, labels)
    torch.testing.assert_close(gradients[-1][:, 0, 0, 5], slope, rtol=2e-2, atol=1e-5)
    flow = torch.eye(17).expand(2, -1, -1)
    for attention, gradient in zip(attentions, gradients, strict=True):
        flow = flow + (attention * gradient).clamp(min=0).mean(1) @ flow
    torch.testing.assert_close(explanation.maps, flow[:, 0, 1:].reshape(2, 4, 4), rtol=1e-4, atol=1e-7)


def autograd_of(model, images, labels):
    attentions = []

    def keep(module, args, output):
        attentions.append(output.requires_grad_())
        return attentions[-1]

    hooks = []
    for block in model.network.blocks:
        block.attn.fused_attn = False
        hooks.append(block.attn.attn_drop.register_forward_hook(keep))
    score = model(images).gather(1, labels[:, None]).sum()
    gradients = torch.autograd.grad(score, attentions)
    for hook, block in zip(hooks, model.network.blocks, strict=True):
        hook.remove()
        block.attn.fused_attn = True
    return gradients


def test_a_network_that_averages_its_patches_is_read_at_its_patches(vit, noise, explain):
    model, pixels = vit(global_pool="avg", class_token=False), noise(1, 64)
    flow = torch.eye(16)
    for attention in matrices(model, pixels / 255, 0):
        flow = (0.5 * attention.mean(1) + 0.5 * torch.eye(16)) @ flow
    found = explain(AttentionRollout(), model, pixels)
    torch.testing.assert_close(found.maps, flow.mean(1).reshape(1, 4, 4))


def test_the_fused_kernel_is_back_afterwards(vit, noise, explain):
    model, pixels = vit(), noise(1, 64)
    before = {name: block.attn.fused_attn for name, block in model.network.blocks.named_children()}
    logits = model(pixels / 255)
    explain(GradientRollout(), model, pixels)
    assert {name: block.attn.fused_attn for name, block in model.network.blocks.named_children()} == before
    assert torch.equal(model(pixels / 255), logits)


def test_networks_without_plain_attention_are_refused_by_module(toy, noise, explain):
    with pytest.raises(InputError, match="no attention block"):
        explain(AttentionRollout(), toy("small"), noise(1, 16))
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=4, img_size=56, depths=(1, 1), embed_dim=24, num_heads=(2, 2)
    )
    with pytest.raises(InputError, match=r"module 'network.layers.0.blocks.0.attn', a WindowAttention"):
        explain(AttentionRollout(), toy(swin, 56), noise(1, 56))


@pytest.mark.parametrize(
    ("arch", "options", "size", "module"),
    [
        # keys of fewer tokens; windows, then all tokens; other tokens in the next stage; one query alone
        ("pvt_v2_b0", {"depths": (1, 1, 1, 1)}, 64, "stages.0.blocks.0.attn', a Attention"),
        ("maxvit_pico_rw_256", {"img_size": 64}, 64, "stages.1.blocks.0.attn_block.attn', a AttentionCl"),
        ("xcit_nano_12_p16_224", {"img_size": 32, "depth": 1}, 32, "cls_attn_blocks.0.attn', a ClassAttn"),
        ("twins_svt_small", {"img_size": 224, "depths": (1, 1, 1, 1)}, 224, "blocks.0.0.attn', a LocallyGroupedAttn"),
        ("cait_xxs24_224", {"img_size": 32, "depth": 1}, 32, "blocks_token_only.0.attn', a ClassAttn"),
    ],
)
@pytest.mark.slow
def test_attention_between_other_tokens_than_the_first_blocks_is_refused_by_module(
    arch, options, size, module, toy, noise, explain
):
    model = toy(timm.create_model(arch, num_classes=4, **options), size)
    for method in (AttentionRollout(), GradientRollout()):
        with pytest.raises(InputError, match=rf"of module 'network\.{module}; use method=gc"):
            explain(method, model, noise(1, size))


def test_attentions_beside_each_other_are_one_with_the_heads_of_both(vit, noise, explain):
    """Of a block x + attention(x) + attention'(x) the mean over both, no product: neither hears the other."""
    model, pixels = vit(block_fn=ParallelThingsBlock), noise(2, 64)
    attentions = []

    def recompute(module, args, output):
        (x,) = args[:1]
        q, k, _ = module.qkv(x).reshape(*x.shape[:2], 3, module.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        attentions.append((q @ k.mT * module.scale).softmax(-1).mean(1))

    for block in model.network.blocks:
        for beside in block.attns:
            beside.attn.register_forward_hook(recompute)
    with torch.no_grad():
        model(pixels / 255)
    flow = torch.eye(17)
    for first, second in zip(attentions[::2], attentions[1::2], strict=True):
        flow = ((first + second) / 2 + torch.eye(17)) / 2 @ flow
    assert len(attentions) == 2 * len(model.network.blocks)
    torch.testing.assert_close(explain(AttentionRollout(), model, pixels).maps, flow[:, 0, 1:].reshape(2, 4, 4))
    assert explain(GradientRollout(), model, pixels).maps.shape == (2, 4, 4)


class ConvMlp(nn.Module):
    """A network's feedforward part that hears the neighbours too."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, tokens):
        return self.conv(tokens.mT).mT


def test_a_network_that_mixes_tokens_past_attention_is_refused(vit, noise, explain):
    model = vit()
    model.network.blocks[1].mlp = ConvMlp(model.network.embed_dim)
    for method in (AttentionRollout(), GradientRollout()):
        with pytest.raises(InputError, match=r"'network\.blocks\.5\.attn' tokens mix in other ways than attention"):
            explain(method, model, noise(1, 64))


def test_a_networks_mixing_is_looked_at_once(vit, noise, explain):
    model, passes = vit(), []
    model.network.register_forward_hook(lambda *call: passes.append(len(call[2])))
    explain(AttentionRollout(), model, noise(1, 64))
    first = len(passes)
    explain(GradientRollout(), model, noise(1, 64))
    assert (first, len(passes)) == (3, 4)


def test_a_network_with_attention_in_some_blocks_is_refused(vit, noise, explain):
    model = vit()
    model.network.blocks[1] = nn.Identity()
    with pytest.raises(InputError, match=r"attention stands in 5 of the 6 parts of 'network\.blocks'"):
        explain(AttentionRollout(), model, noise(1, 64))


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "some"), [("fastvit_sa12", "1 of the 4"), ("coatnet_nano_rw_224", "2 of the 4")])
def test_networks_with_attention_in_their_last_stages_are_refused(arch, some, toy, noise, explain):
    with pytest.raises(InputError, match=rf"attention stands in {some} parts of 'network\.stages'"):
        explain(AttentionRollout(), toy(timm.create_model(arch, num_classes=4), 224), noise(1, 224))
