"""Which of timm's architectures each kind of method is right with: writes docs/architectures.md.

    python benchmarks/architectures.py
    python benchmarks/architectures.py --only pit_ti_224 cait_xxs24_224 --page PAGE.md

Every architecture has random weights, attention that prefers what is near where it has biases for it, and its own input
size. A cell is "right" where what harmonia gives equals what is
computed here in another way, "refused" with the line where it is an InputError. Anything else is "wrong", and the
command fails. With --smallest it prints the smallest architecture of every module of timm, of which the list is.
"""

import argparse
import math
import os
import platform
import re
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import timm
import torch
from architecture_checks import N, check_cam, check_difull, check_gridpg, check_input_x_gradient, check_rollout, noise
from side_by_side import cpu
from torch import Tensor

from harmonia.attribution import passes
from harmonia.attribution.cam import GradCAM, HiResCAM
from harmonia.data.view import View
from harmonia.errors import InputError
from harmonia.models.classifier import Classifier
from harmonia.models.spec import ModelSpec
from harmonia.models.timm import made_by_timm

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
MOST_PARAMETERS = 60e6
# modules of timm whose smallest architecture is too large; the smallest of the others (of xcit and convmixer one with
# large patches); and families that share a module with another
TOO_LARGE = """
    beit deepseek_vit gemma4_vit hieradet_sam2 mobilenetv5 naflexvit nasnet pnasnet qwen3_vit vgg vision_transformer_sam
"""
SMALLEST = """
    cait_xxs24_224 coat_tiny convit_tiny convmixer_1024_20_ks9_p14 cpubone_nano crossvit_tiny_240 cs3darknet_focus_s
    csatv2 cspnext_tiny davit_tiny deit_tiny_patch16_224 densenet121 dla46x_c dpn48b edgenext_xx_small
    efficientformer_l1 efficientformerv2_s0 efficientvim_m1 efficientvit_b0 efficientvit_m0
    ese_vovnet19b_slim_dw fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny ghostnet_050 gmlp_ti16_224
    halonet_h1 hardcorenas_b hgnetv2_b0 hiera_tiny_224 hrnet_w18_small iformer_t inception_next_atto
    inception_resnet_v2 inception_v3 inception_v4 lcnetv2_small legacy_seresnet18 legacy_xception levit_128s
    lowformer_b0 mobilenetv3_small_050 mobilevit_xxs mvitv2_tiny nest_tiny nextvit_small pit_ti_224
    poolformerv2_s12 pvt_v2_b0 rdnet_tiny regnetx_002 repghostnet_050 repvit_m1 res2next50 resnest14d
    resnetv2_18 rexnet_100 selecsls42 sequencer2d_s shvit_s1 skresnet18 starnet_s050
    swiftformer_xs swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 swinv2_tiny_window16_256 test_byobnet
    test_coatnet test_convnext test_efficientnet test_mambaout test_nfnet test_resnet test_vit test_vit_relpos
    tiny_vit_5m_224 tnt_s_legacy_patch16_224 tresnet_m twins_svt_small visformer_tiny
    vit_tiny_patch16_dinov3_qkvb vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224 xception41p
    xcit_nano_12_p16_224
"""
OTHERS = """
    botnet26t_256 caformer_s18 coat_lite_tiny coatnet_nano_rw_224 convformer_s18 deit3_small_patch16_224
    deit_tiny_distilled_patch16_224 efficientnet_lite0 eva02_tiny_patch14_224 fastvit_sa12 lambda_resnet26t
    levit_conv_128s maxvit_pico_rw_256 mixer_s32_224 mixnet_s mobilenetv4_conv_small mobilevitv2_050
    mvitv2_small_cls pit_ti_distilled_224 resmlp_12_224 resnet18 twins_pcpvt_small
    vit_small_patch16_rope_ape_224 vit_small_r26_s32_224 vit_wee_patch16_reg1_gap_256
"""
VANISHING = ("convmixer_1024_20_ks9_p14",)  # an image changes their last map by less than float32 can tell
METHODS = ("Grad-CAM", "HiResCAM", "input x gradient", "rollout", "GridPG", "DiFull")


def main() -> None:
    parser = argparse.ArgumentParser(description="timm's architectures by method")
    parser.add_argument("--only", nargs="+", metavar="ARCH", default=[*SMALLEST.split(), *OTHERS.split()])
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--smallest", action="store_true", help="print the smallest architecture of every module")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    passes.CPU_PASS = 1  # one image a pass: nothing here is stored
    if options.smallest:
        print_smallest()
        return
    started, rows = time.perf_counter(), []
    for arch in options.only:
        begun = time.perf_counter()
        rows.append(row(arch))
        print(f"{time.perf_counter() - begun:5.1f} s  {arch}: {', '.join(rows[-1][-len(METHODS) :])}", flush=True)
        options.page.write_text(page(rows, time.perf_counter() - started))  # an interrupt keeps what is done
    wrong = [each[1] for each in rows if any(cell.startswith("wrong") for cell in each)]
    print(f"{options.page}: {len(rows)} architectures, {len(wrong)} with something wrong {' '.join(wrong)}")
    sys.exit(bool(wrong))


def print_smallest() -> None:
    for module in timm.list_modules():
        sizes = []
        for arch in timm.list_models(module=module):
            with torch.device("meta"):
                network = timm.create_model(arch)
            sizes.append((sum(parameter.numel() for parameter in network.parameters()), arch))
        parameters, arch = min(sizes)
        print(f"{module} {arch} {parameters / 1e6:.1f} M{' (left out)' if parameters > MOST_PARAMETERS else ''}")


def row(arch: str) -> list[str]:
    module = timm.models.model_entrypoint(arch).__module__.split(".")[-1]
    known: list[str] = []

    def make() -> Classifier:
        torch.manual_seed(0)
        network = timm.create_model(arch, num_classes=1000)
        attend_near(network)
        fill_zeros(network)
        built = made_by_timm(network)
        if arch in VANISHING:
            take_statistics(network, noise(4, built.transform["size"][0], seed=2))
        spec = ModelSpec(name=arch, arch=arch, family="any", weights="random")
        names = [str(number) for number in range(built.num_classes)]
        return Classifier(built.network, spec, View(**built.transform), names, arch, structure=built.structure)

    try:
        classifier = make()
    except Exception as error:
        return [module, arch, "", "", "", *[f"wrong: {error}"] * len(METHODS)]
    parameters = sum(each.numel() for each in classifier.network.parameters())
    known += [f"{parameters / 1e6:.1f}", str(classifier.view.height), layer(classifier)]
    pixels = noise(N * N, classifier.view.height)
    checks: tuple[Callable[[], None], ...] = (
        partial(check_cam, GradCAM(), classifier, pixels[:1]),
        partial(check_cam, HiResCAM(), classifier, pixels[:1]),
        partial(check_input_x_gradient, classifier, pixels[:1]),
        partial(check_rollout, classifier, pixels),
        partial(check_gridpg, classifier, pixels),
        partial(check_difull, classifier, pixels),
    )
    return [module, arch, *known, *map(cell, checks)]


def attend_near(network: torch.nn.Module) -> None:
    """Makes attention's biases the distance of query and key, below zero, where a network has such biases.

    timm begins them at 0: all tokens of LeViT are then the same, and TinyViT's hardly know where they stand.
    """
    for module in network.modules():
        biases, offsets_qk = getattr(module, "attention_biases", None), getattr(module, "attention_bias_idxs", None)
        if biases is None or offsets_qk is None:
            continue
        queries, keys = map(math.isqrt, offsets_qk.shape)
        stride = math.ceil(keys / queries)
        places_qk = [torch.cartesian_prod(*[torch.arange(side)] * 2).float() for side in (queries, keys)]
        distance_qk = torch.cdist(places_qk[0] * stride, places_qk[1])
        with torch.no_grad():
            for biases_of_head in biases:
                biases_of_head[offsets_qk] = -distance_qk


def fill_zeros(network: torch.nn.Module) -> None:
    """Draws what timm begins at 0, as the head of Hiera and of MLP-Mixer: maps of 0 are right in any place."""
    for module in network.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and not module.weight.any():
            torch.nn.init.normal_(module.weight, std=0.02)


def take_statistics(network: torch.nn.Module, pixels: Tensor) -> None:
    """Gives BatchNorm the statistics of noise."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()(pixels.float() / 127.5 - 1)
    network.eval()


def cell(check: Callable[[], None]) -> str:
    try:
        check()
    except InputError as refusal:
        return f"refused: {refusal}"
    except Exception as error:
        return f"wrong: {type(error).__name__}: {error}"
    return "right"


def layer(classifier: Classifier) -> str:
    try:
        return classifier.layer_name("final")
    except InputError:
        return ""


def page(rows: list[list[str]], seconds: float) -> str:
    """The table, in which a refusal has a number, and the lines of the refusals."""
    lines: dict[str, int] = {}

    def shown(arch: str, text: str) -> str:
        if not text.startswith("refused: "):
            return text
        line = text.removeprefix("refused: ").replace(arch, "ARCH")
        return f"refused: {lines.setdefault(line, len(lines) + 1)}"

    head = ["module of timm", "architecture", "M parameters", "px", "final layer", *METHODS]
    body = [[*each[:5], *(shown(each[1], text) for text in each[5:])] for each in sorted(rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *body])
    refusals = "\n".join(f"{number}. `{re.sub(r'`', '', line)}`" for line, number in lines.items())
    right = sum(text == "right" for each in rows for text in each[5:])
    tried = {each[1] for each in rows}
    untried = [arch for arch in (*SMALLEST.split(), *OTHERS.split()) if arch not in tried]
    large = ", ".join(TOO_LARGE.split())
    left_out = (
        f"Modules whose smallest architecture has more than 60 million parameters or 384 px are left out: {large}."
    )
    if untried:
        left_out += f" Not tried in this run: {', '.join(untried)}."
    return TEXT.format(
        left_out=textwrap.fill(left_out, 120),
        command="python benchmarks/architectures.py",
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        versions=f"timm {timm.__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}",
        machine=f"one core of {cpu()} with a load of {os.getloadavg()[0]:.1f}",
        minutes=f"{seconds / 60:.0f}",
        count=len(rows),
        modules=len({each[0] for each in rows}),
        right=right,
        refused=len(rows) * len(METHODS) - right,
        table=table,
        refusals=refusals,
    )


TEXT = """# Architectures

{count} of timm's architectures, of {modules} of its modules, by method. Made on {date} by

    {command}

in {minutes} minutes on {machine}: {versions}.
Of every module of timm it is the smallest architecture by parameters, and of families that share a module one each;
the input size is the architecture's own. Weights are random; attention with biases for the way from query to key
(EfficientFormer, EfficientViT, LeViT, TinyViT) has them fall with the distance, since at timm's zeros all tokens of
LeViT are the same and no layer of it lies in place. Layers that timm begins at 0 are drawn too: maps of 0 are right
anywhere. BatchNorm in ConvMixer has the statistics of noise, without which its last map does not depend on the image.
LeViT with `weights=random` keeps these zeros and is therefore refused (`does not change where the image does`); trained
weights are taken.
{left_out}

- **Grad-CAM, HiResCAM** are right where the map of the default layer equals plain autograd's through the whole network
  to 1e-4 of its range, and lies in place: noise pasted into a quarter of the image changes the layer's map most in that
  quarter.
- **input x gradient** is right where it equals plain autograd's at the image.
- **rollout** is right where it equals the product of mean attentions written out and where, with attention that mixes
  nothing, the class token does not depend on the image, or no patch on another. A convolutional stem in front of the
  tokens (`vit_*_r26_*` and kin) is no reason to refuse it: the tokens are the stem's cells, which lie in the image as
  patches do. A cell has seen more of the image than its own square, and rollout says nothing of that.
- **GridPG** is right where Grad-CAM of a mosaic of 2 x 2 images (positions=interpolated) is so, in both senses.
- **DiFull** is right where a cell's logits and its Grad-CAM map are those of its image alone.

The command fails where a cell is neither right nor refused in one line. {right} cells are right, {refused} are refused;
the number says with which line. `final layer` is the default of Grad-CAM.

{table}

## The lines

ARCH stands for the architecture's name.

{refusals}
"""


if __name__ == "__main__":
    main()
