"""Laws of the answer: planted rows give its sentences word for word, and every weakness its caution."""

from pathlib import Path

import pytest
from rows_in_memory import as_gathered

from harmonia.report.answer import Answer, answers
from harmonia.report.cautions import _unconverged
from harmonia.report.fills import with_ranges
from harmonia.report.glossary import glossary
from harmonia.results.jobs import JobFolder
from harmonia.statistics.comparison import compare
from harmonia.statistics.contrasts import mean_transfer

pytestmark = pytest.mark.usefixtures("few_resamples")

GRAD_CAM = {"method": {"name": "gc", "_target_": "harmonia.attribution.cam.GradCAM"}, "source": {"name": "e7"}}
CONTROLLED = {"area30": 40, "blobs30": 5, "centre30": 38, "soft": 50, "dim": 55}
FAMILIES = {"e7": "efficientnet", "e6": "efficientnet", "vit": "vit"}


@pytest.fixture
def answered(gathered_cell):
    """answered({"area30": 40, ...}, images=60, arm="soft"): the answer of targets that name every whole image."""

    def make(hits, images=60, arm="soft", targets=("vit",), summary=None, fills=("black",), **options) -> Answer:
        cells = [
            gathered_cell(
                "1" * right + "0" * (images - right),
                arm=name, target=target, fill=fill, family="efficientnet", target_family=FAMILIES[target], **options,
            )
            for target in targets for fill in fills for name, right in ({"image": images} | hits).items()
        ]  # fmt: skip
        comparisons = compare(as_gathered(*cells))
        jobs = [JobFolder(Path("0"), GRAD_CAM, summary or {})]
        return with_ranges(answers(comparisons, [mean_transfer(each) for each in comparisons], jobs, arm))[0]

    return make


def test_planted_rows_give_the_sentences_word_for_word(answered):
    answer = answered(CONTROLLED, targets=("e6", "vit"))
    assert answer.sentences == [
        "Grad-CAM of e7: partly. More than random blobs, no clear difference to a centred box. At 30 % of the pixels, "
        "what Grad-CAM of e7 keeps carries 67 % [53, 77] of the accuracy into 2 other networks. For comparison: random "
        "blobs 8 % [3, 17], a centred box 63 % [52, 75]. The difference: +58 points [47, 70] to random "
        "blobs, +3.3 points [0.0, 8.3] to a centred box."
    ]
    assert answer.basis == (
        "Measured on 60 images of woof with 3 networks (e7, e6, vit). What is dropped is filled with black; the "
        "explained class is the predicted one. Kept is what a network is shown; carried (retention) is the network's "
        "accuracy on what is kept over its accuracy on whole images; above 100 % it names more of them rightly. "
        "Brackets are 95 % intervals over the images."
    )
    assert answer.cautions == [
        "No clear difference is no proof that there is none.",
        "The soft map of Grad-CAM of e7 carries 83 % [72, 93], the image dimmed as much 92 % [85, 98]: not more than "
        "dimming, so this soft map proves nothing.",
        "No other fill ran on the same networks: under another the answer may differ.",
    ]
    assert answer.table.iloc[0].tolist() == [
        "Grad-CAM of e7", "67 [53, 77]", "8 [3, 17]", "63 [52, 75]", "58 [47, 70]", "3 [0, 8]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("hits", "options", "caution"),
    [
        (
            CONTROLLED,
            {"images": 55, "targets": ["e6"]},
            "All networks are of one family, efficientnet: nothing is said",
        ),
        (CONTROLLED, {"fills": ["black", "mean"]}, ""),  # of fills, none
        ({"area30": 40}, {}, "Not run, so not known: what random blobs would carry."),
        ({"area30": 40, "blobs30": 5}, {}, "Not run, so not known: what a centred box would carry."),
        ({"soft": 40, "area30": 40}, {}, "67 % [53, 77], and no image dimmed as much ran beside it: a soft map alone"),
        ({"soft": 40}, {}, "Not run, so not known: what the image dimmed as much would carry."),
        ({"soft": 50, "dim": 20, "area30": 9}, {}, "the image dimmed as much 33 % [22, 45]: more than dimming."),
        ({"area30": 9, "blobs30": 9}, {"images": 49}, "Only 49 images: small differences cannot be seen"),
        (CONTROLLED, {"targets": ["e7"], "source": "e7"}, "No other network was asked: whether the regions carry over"),
        (
            CONTROLLED,
            {"summary": {"maps_not_converged": 5, "images": 60}},
            "5 of 60 maps of Grad-CAM on e7 still changed when the search",
        ),
    ],
)
def test_every_weakness_has_its_caution(answered, hits, options, caution):
    cautions = " ".join(answered(hits, **options).cautions)
    assert caution in cautions
    assert ("No other fill" in cautions) == ("fills" not in options)


def test_maps_that_have_not_converged_are_counted_once_a_network_in_one_line_a_method():
    def job(method, source, fill, lacking):
        return JobFolder(
            Path(fill), {"method": {"name": method}, "source": {"name": source}, "fill": {"name": fill}},
            {"maps_not_converged": lacking, "images": 600},
        )  # fmt: skip

    jobs = [job("ss", source, fill, lacking) for source in ("a", "b") for fill, lacking in (("black", 7), ("mean", 0))]
    longer = job("ss", "a", "black", 900)
    longer.config["method"] = {"name": "ss", "steps": 80}
    jobs.append(longer)
    jobs += [job("ss_cpu", "a", "black", 1), job("ss_cpu", "b", "black", 0), job("gc", "a", "black", 0)]
    dear, cheap = _unconverged(jobs, {"ss": "Soundness Saliency"})
    assert dear.startswith("914 of 1,800 maps of Soundness Saliency on 2 networks still changed when ")
    assert cheap.startswith("1 of 1,200 maps of ss_cpu on 2 networks still changed when ")


@pytest.mark.parametrize(
    ("hits", "verdict"),
    [
        ({"area30": 50, "blobs30": 5, "centre30": 20}, "yes. More than random blobs, more than a centred box."),
        ({"area30": 5, "blobs30": 30, "centre30": 40}, "no. Less than random blobs, less than a centred box."),
        ({"area30": 20, "blobs30": 20}, "not shown. No clear difference to random blobs."),  # image by image the same
        ({"area30": 20}, "not compared with random blobs."),
        ({"soft": 20, "dim": 40}, "no. Less than the image dimmed as much."),
        ({"image": 0, "area30": 3}, "cannot be said."),
        ({"area30": 60, "blobs30": 0}, "no interval of the difference to random blobs."),  # of every image the same
    ],
)
def test_more_and_less_are_said_where_the_interval_leaves_out_zero_alone(answered, hits, verdict):
    assert answered(hits).findings[0][0] == f"Grad-CAM of e7: {verdict}"


def test_where_no_whole_image_is_right_nothing_is_said_of_the_soft_map(answered):
    cautions = " ".join(answered({"image": 0, "area30": 3, "soft": 5, "dim": 9}).cautions)
    assert "names 0 % [0, 0] of the whole images" in cautions
    assert "soft map" not in cautions


AMONG_THEM = ["owl", *59 * ["dog0"]]  # a wrong answer, owl, is one of the images' classes


@pytest.mark.parametrize(("right", "at_chance"), [(30, True), (35, True), (50, False)])
def test_what_a_guess_would_carry_stands_beside_and_who_carries_no_more_is_named(answered, right, at_chance):
    hits = {"image": 50, "area30": right, "blobs30": 29, "centre30": 31}  # of 60 images of two classes
    assert "guess" not in " ".join([answered(hits).sentences[0], *answered(hits).cautions])  # owl is none of them
    answer = answered(hits, labels=AMONG_THEM)
    assert "a centred box 62 % [" in answer.sentences[0]
    assert ", a guess 60 %. The difference: " in answer.sentences[0]
    cautions = [caution for caution in answer.cautions if "may be guessing there" in caution]
    assert [caution.partition(" [")[0] for caution in cautions] == at_chance * [
        f"What Grad-CAM of e7 keeps carries {right / 0.5:.0f} %"
    ]
    assert all("and a guess would carry 60 %: the networks asked" in caution for caution in cautions)


def test_a_network_that_names_other_classes_too_is_not_guessing_at_half_of_two(answered):
    hits = {"image": 30, "area30": 25, "blobs30": 2}  # of 60 images of two classes; owl, what is named else, is neither
    assert "cannot be said" not in answered(hits).sentences[0]
    assert "cannot be said" in answered(hits, labels=AMONG_THEM).sentences[0]


def test_of_networks_that_may_be_guessing_nothing_can_be_said_and_they_are_named(answered):
    answer = answered({"image": 3, "area30": 2, "blobs30": 1}, labels=AMONG_THEM)
    unsaid = (
        "Grad-CAM of e7: cannot be said. The networks asked are not shown to name whole images better than a guess."
    )
    assert answer.findings[0][0] == unsaid
    assert "a guess" not in answer.findings[0][1]
    assert [caution for caution in answer.cautions if "guess" in caution] == [
        "vit names 5 % [2, 12] of the whole images rightly; a guess among their 2 classes names 50 %. Train it longer, "
        "or check its weights, classes and transform."
    ]


def test_one_image_has_a_difference_and_no_interval_of_it(answered):
    (sentence,) = answered({"area30": 1, "blobs30": 0}, images=1).sentences
    assert "not compared" not in sentence
    assert "no interval of the difference to random blobs" in sentence
    assert "+100 points to random blobs" in sentence
    assert "guess" not in sentence  # a single class has none


def test_brackets_and_intervals_are_spoken_of_where_there_are_some_alone(answered):
    alike, mixed = answered({"area30": 0, "blobs30": 0}), answered({"area30": 30, "blobs30": 0})
    assert "Brackets" not in alike.basis
    assert "intervals" not in alike.table.attrs["caption"]
    assert "Brackets" in mixed.basis
    for answer in (alike, mixed):  # of both some number has none
        (note,) = answer.table.attrs["footnotes"]
        assert note.startswith("Where [–] stands is no interval")


def test_more_than_100_percent_is_explained_where_it_stands(answered):
    notes = [answered({"image": 40, "area30": right, "blobs30": 5}).table.attrs["footnotes"] for right in (30, 50)]
    assert notes == [[], ["Above 100: more images are named rightly by what is kept than as a whole."]]
    assert "above 100" in glossary([], ())["Retention (%)"]


def test_the_answer_is_at_the_reports_area_and_of_a_dimmer_at_the_usual_one(answered):
    hits = {"soft": 50, "area10": 9, "area50": 30, "area20": 20}
    assert [answered(hits, arm=arm).arm for arm in ("soft", "area50")] == ["area20", "area50"]


def test_a_network_that_may_be_guessing_is_named(gathered_cell):
    def cautions(right):
        cells = [
            gathered_cell("1" * hits + "0" * (60 - hits), arm=arm, target="vit")
            for arm, hits in {"image": right, "area30": 9}.items()
        ]
        comparisons = compare(as_gathered(*cells))
        return " ".join(answers(comparisons, [mean_transfer(each) for each in comparisons], [], "soft")[0].cautions)

    guess = "a guess among their 2 classes names 50 %. Train it longer, or check its weights, classes and transform."
    assert f"vit names 37 % [27, 48] of the whole images rightly; {guess}" in cautions(22)
    assert guess not in cautions(50)


def test_of_a_few_images_nobody_is_told_to_train(answered):
    (caution,) = [each for each in answered({"image": 2, "area30": 2}, images=4).cautions if "names 50 %" in each]
    assert caution.endswith(
        "a guess among their 2 classes names 50 %. So few images do not tell the two apart: show more."
    )


def test_a_difference_of_nothing_has_no_sign(answered):
    sentence = answered({"area30": 30, "blobs30": 30, "centre30": 31}).sentences[0]
    assert "The difference: 0 points to random blobs, -1.7 points [" in sentence


@pytest.mark.parametrize(
    ("kept_areas", "named"),
    [((0.3, 0.3), ["GC of e7"]), ((0.3, 0.299), ["GC (areas=[0.3]) of e7", "GC (areas=[0.1,0.3]) of e7"])],
)
def test_two_lists_of_areas_that_show_the_same_maps_are_one_line(gathered_cell, kept_areas, named):
    cells = [
        gathered_cell("1" * hits + "0" * (60 - hits), arm=arm, variant=variant, target="vit", kept_area=kept_area)
        for variant, kept_area in zip(("areas=[0.3]", "areas=[0.1,0.3]"), kept_areas, strict=True)
        for arm, hits in {"image": 60, "area30": 30}.items()
    ]
    comparisons = compare(as_gathered(*cells))
    lines = answers(comparisons, [mean_transfer(each) for each in comparisons], [], "soft")[0].sentences
    assert sorted(line.partition(": ")[0] for line in lines) == sorted(named)


def test_sources_are_averaged_and_random_weights_stand_apart(gathered_cell):
    cells = [
        gathered_cell("1" * hits + "0" * (60 - hits), arm=arm, source=source, target=target, random_weights=is_random)
        for source, is_random in (("e7", False), ("e6", False), ("noise", True))
        for target in ("e7", "e6", "e5")
        for arm, hits in {"image": 60, "area30": 10 if is_random else 30}.items()
    ]
    comparisons = compare(as_gathered(*cells))
    trained, random = answers(comparisons, [mean_transfer(each) for each in comparisons], [], "soft")[0].sentences
    assert [trained.split(" [")[0], random.split(" [")[0]] == [
        "GC of 2 networks: not compared with random blobs. At 30 % of the pixels, what GC of 2 networks keeps "
        "carries 50 %",
        "GC of noise (random weights): not compared with random blobs. At 30 % of the pixels, what GC of noise (random "
        "weights) keeps carries 17 %",
    ]
    assert "into other networks (4 pairs)." in trained
    assert "into 3 other networks." in random
