"""What the report's abbreviations stand for: methods, arms, columns. A page shows each where it stands."""

from collections.abc import Iterable, Sequence

from harmonia import arms
from harmonia.report.tables.columns import method_label
from harmonia.report.tables.typeset import NO_INTERVAL
from harmonia.results.jobs import JobFolder

# by class; a method that is not here goes by its class's own name
_METHODS = {
    "AblationCAM": "Ablation-CAM",
    "AttentionRollout": "Attention rollout",
    "Centre": "the middle of the view",
    "Edges": "an edge detector",
    "GradCAM": "Grad-CAM",
    "GradCAMPlusPlus": "Grad-CAM++",
    "GradientRollout": "Gradient-weighted rollout",
    "GuidedBackprop": "Guided backpropagation",
    "InputXGradient": "Input x gradient",
    "IntegratedGradients": "Integrated gradients",
    "LayerCAM": "Layer-CAM",
    "LRP": "Layer-wise relevance propagation",
    "Random": "White noise",
    "ScoreCAM": "Score-CAM",
    "SmoothGrad": "SmoothGrad",
    "SoundnessSaliency": "Soundness Saliency",
}
_ARMS = {  # {} is the area in percent
    arms.IMAGE_ARM: "the whole image",
    arms.SOFT_ARM: "the map as a dimmer: every pixel keeps as much light as the map gives it",
    arms.NOTHING_ARM: "nothing of the image: what is put where it is dropped",
    arms.DIM_ARM: "the whole image, dimmed evenly by as much as the soft map",
    arms.AREA: "the map's top {} % of the pixels, nothing of the rest",
    arms.BLOBS: "random blobs of {} % of the pixels",
    arms.CENTRE: "a box in the middle of {} % of the pixels",
    arms.SAME_CLASS: "the top {} % of another image's map, same class explained",
    arms.OTHER_CLASS: "the top {} % of another image's map, another class explained",
    arms.COMPLEMENT: "all but the map's top {} %",
    arms.SILHOUETTE: "the outline of the map's top {} %, white on black",
}
_COLUMNS = {
    "(I)": "the target is shown the whole image",
    "(F)": "the target is shown the feature: the part that the arm keeps",
    "Source": "the network whose maps say what is kept",
    "Target": "the network that is shown what is kept",
    "Arm": "what the target is shown",
    "Retention (%)": "accuracy on the feature over accuracy on the whole image, of the same images; "
    "above 100: more are right on the feature than on the whole image",
    "Control's retention (%)": "the same of the matched control: blobs of that area, or the image dimmed as much",
    "Above control (points)": "retention less the control's",
    "Above centre box (points)": "retention less that of a centred box of that area",
    "Judges": "whether features can be told apart under the fill, or why not: see above the table",
    "Without the image": "what the target says most often where nothing is kept",
    "Its share (%)": "how often it says so",
    "Entropy (bits)": "of its answers where nothing is kept: 0 where all are the same",
    "Nothing's retention (%)": "retention where nothing is kept: what the fill itself tells",
    "Control above nothing (points)": "what random blobs tell beyond that",
    "Kendall's tau": "of two orders of methods: 1 the same, 0 no relation, -1 turned round",
    "Insertion (%)": "mean retention over the areas shown, the map's top first",
    "Deletion (%)": "mean retention over the areas removed, the map's top first; low: the region is needed",
    "Beyond blobs (points)": "what random blobs as large as the rest keep, less what deletion leaves",
    "Kept area (%)": "mean share of the pixels, or of the light, that is kept",
    "Cells": "pairs of source and target that a mean is over",
    "Voters": "networks that the source is made of",
    "Targets": "networks without a vote that a mean is over",
    "Passes": "of networks, forward or forward and back, that an image's map took",
    "Held against": "what the joint map's retention is less: that of its networks alone",
    "Kinship (points)": "what a common family adds between networks of equal strength",
    "ECE (I) (%)": "expected calibration error on the image: how far confidence is from accuracy",
    "ECE (F) (%)": "expected calibration error on the feature",
    "CKA": "likeness of two networks' features, 1 for equal ones",
    "Rank correlation": "Spearman's rho of two networks' maps of one image: 1 the same order of places, 0 no relation",
    "of another image": "the same of the one's map and the other's maps of other images",
    "with the centre": "the same of a map and nearness to the middle",
    "Above another image's": "rank correlation less that with the other's maps of other images",
    "Above the centre's": "rank correlation less that with nearness to the middle",
    "IoU (%)": "what both networks' regions share, over what either holds; regions of one area",
    "IoU of another image (%)": "the same of the one's region and the other's regions of other images",
    "IoU with the centre (%)": "the same of a region and a centred box of that area",
    "IoU with blobs (%)": "the same of a region and random blobs of that area",
    "Naming": "over images: does the other network name the class on the feature where the rank correlation is higher? "
    "1 always, 0 no more often, -1 where it is lower",
    NO_INTERVAL: "no interval, for every resample of the images gives the same",
    "p": "McNemar's exact test of one pair of cells",
    "p, orders": "share of the orders of networks (of sizes: architectures) that make the difference as large",
    "p, orders within": "the same of orders within an architecture or a family alone",
    "p, Holm": "McNemar's exact test, corrected by Holm for the number of tests",
}


def full_names(jobs: Sequence[JobFolder]) -> dict[str, str]:
    """What the jobs' methods are called, by their names; of two of one class the names stand behind, in brackets."""
    classes = {
        str(job.group("method").get("name")): str(job.group("method").get("_target_") or "").rpartition(".")[2]
        for job in jobs
    }
    full: dict[str, str] = {}
    for name, kind in classes.items():
        called = method_label(name) if kind in ("", "Stored") else _METHODS.get(kind, kind)
        alone = list(classes.values()).count(kind) == 1 or called == method_label(name)
        full[name] = called if alone else f"{called} ({method_label(name)})"
    return full


def arm_in_words(arm: str) -> str:
    by_pixel = arms.by_pixel(arm)
    words = _ARMS.get(arms.kind_of(by_pixel), "").format(by_pixel.removeprefix(arms.kind_of(by_pixel)))
    return words if by_pixel == arm else f"{words}, in whole patches of the target"


def glossary(jobs: Sequence[JobFolder], arms_shown: Iterable[str]) -> dict[str, str]:
    """Explanations by what a table prints, in the order of a legend."""
    methods = {method_label(name): called for name, called in full_names(jobs).items()}
    explained = {name: called for name, called in methods.items() if called != name}
    explained |= {arm: words for arm in arms_shown if (words := arm_in_words(arm))}
    return explained | _COLUMNS
