"""The page of `harmonia demo`; Streamlit runs it anew for each change."""

import hashlib
import tempfile
from math import isnan
from pathlib import Path

import streamlit as st

from harmonia.api.asked import in_one_line
from harmonia.arms import AREA, BLOBS, CENTRE, DIM_ARM, IMAGE_ARM, SOFT_ARM, arm_of
from harmonia.data.decode import IMAGE_SUFFIXES
from harmonia.data.imagenet import readable
from harmonia.data.samples import samples
from harmonia.demo.verdicts import Verdict, Verdicts, ask
from harmonia.errors import InputError, home
from harmonia.models.classifier import Classifier
from harmonia.models.load import load
from harmonia.models.named import spec_of_name
from harmonia.store.files import write_stored

EMBEDDED = {"lite0": "EfficientNet-Lite0", "lite1": "EfficientNet-Lite1", "lite2": "EfficientNet-Lite2"}
OWN = "a checkpoint of your own"
OFFERED = {"gc": "Grad-CAM", "ss": "Soundness Saliency, about a minute"}


@st.cache_resource(max_entries=6, show_spinner="Loading a network")
def network(name: str, weights: str, role: str) -> Classifier:
    """role: the names of source and target differ where both are checkpoints of one architecture."""
    if weights:
        return load(spec_of_name(f"timm:{name}", weights=home(weights), name=f"{name} ({role})"))
    return load(spec_of_name(name))


@st.cache_resource
def uploads() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="harmonia-demo-")


def title_of_network(name: str) -> str:
    return EMBEDDED.get(name, name)


def chosen_network(role: str, index: int) -> Classifier | None:
    name = st.sidebar.selectbox(role, [*EMBEDDED, OWN], index=index, format_func=title_of_network)
    if name != OWN:
        return network(name, "", role)
    arch = st.sidebar.text_input("timm's name of its architecture", key=f"arch {role}", placeholder="resnet18")
    weights = st.sidebar.text_input("path of its weights on this machine", key=f"weights {role}")
    return network(arch, weights, role) if arch and weights else None


def chosen_image() -> Path:
    given = st.sidebar.file_uploader("An image of yours", sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
    if given is not None:
        path = Path(uploads().name) / f"{hashlib.sha256(given.getvalue()).hexdigest()}{Path(given.name).suffix.lower()}"
        write_stored(path, given.getvalue())
        return path
    titles = {f"{readable(sample.class_name or '')} ({sample.image_id})": sample.path for sample in samples().records}
    return titles[st.sidebar.selectbox("or a sample", list(titles))]


def show_verdict(verdict: Verdict, title: str) -> None:
    st.image(verdict.picture, width="stretch")
    st.text(title)
    st.metric(title, in_percent(verdict.p_explained), label_visibility="collapsed")
    st.text("\n".join(f"{in_percent(probability)} {name}" for name, probability in verdict.top))


def in_percent(share: float) -> str:
    return "unknown class" if isnan(share) else f"{100 * share:.0f} %"


def show(verdicts: Verdicts, source: str, target: str, area: float) -> None:
    """source, target: names of the networks."""
    st.text(
        f"{source} sees {verdicts.explained} ({in_percent(verdicts.p_source)}). "
        f"The large numbers say how probable {target} finds {verdicts.explained} in each picture. "
        "Below them are its five first guesses."
    )
    columns = st.columns(5)
    with columns[1]:
        st.image(verdicts.heat, width="stretch")
        st.text(f"the map of {source}")
    titles = {AREA: "top {} of the map", BLOBS: "random blobs, {}", CENTRE: "a centre box, {}"}
    shown = {IMAGE_ARM: "the whole image"}
    shown |= {arm_of(kind, area): title.format(in_percent(area)) for kind, title in titles.items()}
    for column, (arm, title) in zip([columns[0], *columns[2:]], shown.items(), strict=True):
        with column:
            show_verdict(verdicts.of_arms[arm], title)
    st.subheader("Why a soft mask proves nothing")
    first, second, text = st.columns([1, 1, 3])
    with first:
        show_verdict(verdicts.of_arms[SOFT_ARM], "image ⊙ map")
    with second:
        show_verdict(verdicts.of_arms[DIM_ARM], "dimmed evenly")
    text.text(
        "Image ⊙ map multiplies the image with the whole map. Most of it still shines through, only darker. "
        "Beside it, the image is dimmed evenly to the same mean: that knows nothing of the map. "
        "Where both carry the class, the map has shown nothing. Only masks of one area can be compared, as above."
    )


def main() -> None:
    st.set_page_config("harmonia", layout="wide")
    st.header("Does what explains one network carry over to another?")
    try:
        with in_one_line():
            source, target = chosen_network("The network that is explained", 0), chosen_network("The network asked", 1)
            method = st.sidebar.selectbox("Method", list(OFFERED), format_func=OFFERED.__getitem__)
            area = st.sidebar.select_slider("Share of the image kept", [0.1, 0.2, 0.3, 0.5], 0.3, in_percent)
            image = chosen_image()
            if source is None or target is None:
                st.info("Give the architecture and the weights of your checkpoint.")
                return
            bar = st.empty()
            verdicts = ask(
                source, target, image, method, area, show=lambda html: bar.html(html) if html else bar.empty()
            )
            show(verdicts, title_of_network(source.name), title_of_network(target.name), area)
    except InputError as error:
        st.error("This cannot be asked:")
        st.text(str(error))


if __name__ == "__main__":  # as Streamlit runs it
    main()
