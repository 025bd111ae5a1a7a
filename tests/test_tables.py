import csv
import io
import shutil
import subprocess

import pandas as pd
import pytest
import yaml
from rich.console import Console

from harmonia.errors import InputError
from harmonia.finished_jobs import find_jobs
from harmonia.results import RowWriter, summarise, write_summary
from harmonia.tables import (
    gather,
    job_rows,
    print_table,
    table_files,
    to_csv,
    to_latex,
    to_markdown,
    transfer_matrix,
    transfer_table,
    transfer_tables,
)

WOOF = {"name": "imagewoof"}
FAMILIES = {"e7": "efficientnet", "vit": "vit"}


def cell(hits, count, *, target, arm, source="e7", method="ss", fill="black", policy="predicted", kept=1.0, first=0):
    """Rows of one table cell: hits of count are right, the others are called what nothing is labelled."""
    constant = {
        "path": "x.jpg",
        "source": source,
        "method": method,
        "label_policy": policy,
        "arm": arm,
        "fill": fill,
        "target": target,
        "explained": "dog0",
        "source_predicted": "dog0",
        "p_label": 0.5,
        "p_explained": 0.5,
        "p_predicted": 0.5,
        "entropy": 1.0,
        "kept_area": kept,
        "flag": "",
    }
    labels = [f"dog{number % 10}" for number in range(count)]
    return {name: [value] * count for name, value in constant.items()} | {
        "image_id": [f"n{first + number}" for number in range(count)],
        "label": labels,
        "predicted": [label if number < hits else "owl" for number, label in enumerate(labels)],
        "top5": [[label] for label in labels],
    }


def plant(folder, cells, *, source="e7", data=WOOF, unreadable=0, **options):
    folder.mkdir(parents=True)
    config = {"source": {"name": source, "family": FAMILIES[source]}, "data": data} | options
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with RowWriter(folder / "rows.parquet") as writer:
        for columns in cells:
            writer.append(columns)
    write_summary(folder, {"images_unreadable": unreadable})


def gathered(folder):
    return gather([job_rows(job) for job in find_jobs(folder)])


def transfer(hits, count=10, **given):
    """One job: for each target the hits on the whole image and on the feature."""
    return [
        cell(right, count, target=target, arm=arm, kept=area, **given)
        for target, pair in hits.items()
        for arm, right, area in (("image", pair[0], 1.0), ("soft", pair[1], 0.25))
    ]


def test_the_papers_table_is_printed_to_the_letter(tmp_path):
    # Table 1's first cells, k of 10,000; e6 comes first in the rows, the source itself first in the table.
    hits = {"e6": (7590, 7361), "e7": (7840, 7409)}
    plant(tmp_path / "0", transfer(hits, 10_000), unreadable=2)
    plant(tmp_path / "1", transfer({"e7": (7847, 5887)}, 10_000, method="gc"))
    (table,) = transfer_tables(gathered(tmp_path))
    assert to_markdown(table) == (
        "Source e7, arm soft, fill black, label policy predicted; "
        "imagewoof, 10,000 images (and 2 unreadable). (I) the whole image, (F) the feature. "
        "F1: support-weighted over the classes present, 1000-way argmax.\n"
        "\n"
        "| Method | Metric | e7 (I) | e7 (F) | e6 (I) | e6 (F) |\n"
        "| --- | --- | ---: | ---: | ---: | ---: |\n"
        "| SS | Accuracy (%) | 78.40 | 74.09 | 75.90 | 73.61 |\n"
        "| SS | F1 | 0.88 | 0.85 | 0.86 | 0.85 |\n"
        "| SS | Kept area (%) | 100.00 | 25.00 | 100.00 | 25.00 |\n"
        "| GC | Accuracy (%) | 78.47 | 58.87 | \N{EN DASH} | \N{EN DASH} |\n"
        "| GC | F1 | 0.88 | 0.74 | \N{EN DASH} | \N{EN DASH} |\n"
        "| GC | Kept area (%) | 100.00 | 25.00 | \N{EN DASH} | \N{EN DASH} |\n"
    )


def test_tables_go_by_family_then_source_and_never_mix_settings(tmp_path):
    plant(tmp_path / "0", transfer({"e6": (9, 8)}, source="vit"), source="vit")
    plant(tmp_path / "1", transfer({"e6": (9, 8)}))
    plant(tmp_path / "2", transfer({"e6": (9, 7)}, policy="true"))
    plant(tmp_path / "3", transfer({"e6": (9, 6)}, fill="mean"))
    plant(tmp_path / "4", transfer({"e6": (9, 5)}), data={"name": "imagenette"})
    plant(tmp_path / "5", transfer({"e6": (9, 4)}, first=100))  # other images under the same name
    tables = transfer_tables(gathered(tmp_path))
    captions = [table.attrs["caption"].split(". (I)")[0] for table in tables]
    assert captions[1:4] == [
        "Source e7, arm soft, fill black, label policy true; " + captions[1].split("; ")[1],
        "Source e7, arm soft, fill mean, label policy predicted; " + captions[1].split("; ")[1],
        "Source e7, arm soft, fill black, label policy predicted; imagenette, 10 images",
    ]
    assert captions[5].startswith("Source vit")
    assert len(set(captions)) == 6
    assert all("imagewoof [" in captions[n] for n in (0, 1, 2, 4, 5))
    shown = [table.loc[table["Metric"] == "Accuracy (%)", "e6 (F)"].tolist() for table in tables]
    assert shown == [["80.00"], ["70.00"], ["60.00"], ["50.00"], ["40.00"], ["80.00"]]


def test_one_table_refuses_two_settings(tmp_path):
    plant(tmp_path / "0", transfer({"e6": (9, 8)}))
    plant(tmp_path / "1", transfer({"e6": (9, 7)}, policy="true"))
    with pytest.raises(InputError, match="one label_policy, got predicted, true"):
        transfer_table(gathered(tmp_path), "e7")
    with pytest.raises(InputError, match="'e8' must have rows"):
        transfer_table(gathered(tmp_path), "e8")


def test_a_cell_that_ran_twice_counts_once_and_the_later_job_wins(tmp_path):
    plant(tmp_path / "9", transfer({"e6": (9, 8), "e5": (9, 3)}))
    plant(tmp_path / "10", transfer({"e6": (9, 6)}))
    (table,) = transfer_tables(gathered(tmp_path))
    assert table.loc[0, ["e6 (F)", "e5 (F)"]].tolist() == ["60.00", "30.00"]


BASE = {
    "method": {"name": "ss", "steps": 60, "start": {"layer": "auto"}},
    "label": {"name": "random", "seed": 0},
    "fill": {"name": "black"},
    "evaluation": {"normalise": "auto", "areas": [0.1, 0.3]},
    "trainer": {"precision": "32-true", "accelerator": "cpu"},
    "seed": 0,
    "crop_pct": None,
    "batch_size": 8,
    "num_threads": 1,
    "paths": {"cache": "/a", "weights": None, "job": "/jobs/0"},
    "store": {"shard_size": 64},
    "logger": {"mode": "offline"},
    "tracking": {"group": "a"},
}


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"seed": 1, "label": {"name": "random", "seed": 1}}, ("seed=0", "seed=1")),
        ({"label": {"name": "random", "seed": 1}}, (None, "label.seed=1")),
        ({"method": {"name": "ss", "steps": 1, "start": {"layer": "auto"}}}, ("method.steps=60", "method.steps=1")),
        (
            {"method": {"name": "ss", "steps": 60, "start": None}},
            ("method.start.layer=auto", "method.start=null"),
        ),
        (
            {"evaluation": BASE["evaluation"] | {"areas": [0.3]}},
            ("evaluation.areas=[0.1,0.3]", "evaluation.areas=[0.3]"),
        ),
        ({"evaluation": BASE["evaluation"] | {"controls": {"seed": 1}}}, (None, "evaluation.controls.seed=1")),
        ({"crop_pct": 1.0}, ("crop_pct=null", "crop_pct=1.0")),
        ({"trainer": {"precision": "bf16-mixed"}}, ("trainer.precision=32-true", "trainer.precision=bf16-mixed")),
        ({"paths": {"weights": "/tuned"}}, ("paths.weights=null", "paths.weights=/tuned")),
        ({"data": {"name": "imagewoof", "pool_size": 9}}, (None, "data.pool_size=9")),
    ],
)
def test_jobs_that_differ_in_an_option_are_all_shown_and_say_which(tmp_path, changes, shown):
    plant(tmp_path / "0", transfer({"e7": (9, 8), "e6": (9, 7)}), **BASE)
    plant(tmp_path / "1", transfer({"e7": (9, 6), "e6": (9, 5)}), **BASE | changes)
    rows = gathered(tmp_path)
    (table,) = transfer_tables(rows)
    accuracy = table[table["Metric"] == "Accuracy (%)"]
    assert accuracy["Method"].tolist() == [f"SS ({variant})" if variant else "SS" for variant in shown]
    assert accuracy[["e7 (F)", "e6 (F)"]].values.tolist() == [["80.00", "70.00"], ["60.00", "50.00"]]
    matrix = transfer_matrix(rows)
    assert matrix["variant"].tolist() == [variant or "" for variant in shown for _ in range(2)]
    assert matrix["accuracy_feature"].tolist() == [0.8, 0.7, 0.6, 0.5]


@pytest.mark.parametrize(
    "changes",
    [
        {"paths": {"cache": "/b", "weights": None, "job": "/jobs/1"}},
        {"batch_size": 64, "num_threads": 2, "store": {"shard_size": 1}},
        {"logger": {"mode": "online"}, "tracking": {"group": "b"}},
        {"trainer": {"precision": "32-true", "accelerator": "gpu"}},
        {"data": {"name": "imagewoof", "cache": "/b", "download": False, "url": "http://mirror"}},
        {"evaluation": BASE["evaluation"] | {"representations": 0, "controls": {"blobs": [0.3], "seed": 0}}},
        {"evaluation": BASE["evaluation"] | {"controls": None}},
    ],
)
def test_what_changes_no_number_is_no_variant(tmp_path, changes):
    plant(tmp_path / "0", transfer({"e6": (9, 8)}), **BASE)
    plant(tmp_path / "1", transfer({"e6": (9, 6)}), **BASE | changes)
    (table,) = transfer_tables(gathered(tmp_path))
    assert table["Method"].tolist() == ["SS"] * 3
    assert table.loc[0, "e6 (F)"] == "60.00"


def test_a_targets_own_options_make_variants_of_its_cells_alone(tmp_path):
    for number, (weights, hits) in enumerate((("hub", 8), ("mine.pth", 7))):
        source, e6 = {"name": "e7", "family": "efficientnet"}, {"name": "e6", "weights": weights, "crop_pct": None}
        config = BASE | {"target": {"self": source, "e6": e6}}
        plant(tmp_path / str(number), transfer({"e7": (9, 6), "e6": (9, hits)}), **config)
    (table,) = transfer_tables(gathered(tmp_path))
    accuracy = table.loc[table["Metric"] == "Accuracy (%)", ["Method", "e7 (F)", "e6 (F)"]]
    assert accuracy.values.tolist() == [
        ["SS (target.e6.weights=hub)", "\N{EN DASH}", "80.00"],
        ["SS", "60.00", "\N{EN DASH}"],
        ["SS (target.e6.weights=mine.pth)", "\N{EN DASH}", "70.00"],
    ]


def test_only_variants_of_one_method_are_compared(tmp_path):
    plant(tmp_path / "0", transfer({"e6": (9, 8)}), **BASE)
    plant(tmp_path / "1", transfer({"e6": (9, 6)}, method="gc"), **BASE | {"method": {"name": "gc", "layer": "auto"}})
    (table,) = transfer_tables(gathered(tmp_path))
    assert table["Method"].unique().tolist() == ["SS", "GC"]


@pytest.mark.parametrize(
    ("one", "other"), [({"variant": "full"}, {"variant": "160px"}), ({"root": "/clear"}, {"root": "/fog"})]
)
def test_two_variants_of_a_data_set_never_share_a_table(tmp_path, one, other):
    for number, options in enumerate((one, other)):
        config = BASE | {"data": {"name": "imagewoof", **options}}
        plant(tmp_path / str(number), transfer({"e6": (9, 8 - number)}), **config)
    tables = transfer_tables(gathered(tmp_path))
    assert [table.loc[0, "e6 (F)"] for table in tables] == ["80.00", "70.00"]
    captions = {table.attrs["caption"] for table in tables}
    assert len(captions) == 2
    assert all("imagewoof [" in caption for caption in captions)


def test_an_arm_that_one_method_lacks_is_a_dash(tmp_path):
    plant(tmp_path / "0", transfer({"e6": (9, 8)}))
    plant(tmp_path / "1", [cell(9, 10, target="e6", arm="image", method="gc")])
    (table,) = transfer_tables(gathered(tmp_path))
    assert table.loc[table["Method"] == "GC", "e6 (F)"].tolist() == ["\N{EN DASH}"] * 3


def test_the_matrix_holds_the_summarys_fractions(tmp_path):
    plant(tmp_path / "0", transfer({"e6": (8, 6)}))
    plant(tmp_path / "1", transfer({"e6": (0, 0)}, method="gc"))
    matrix = transfer_matrix(gathered(tmp_path))
    head = [
        "e7",
        "e6",
        "ss",
        "soft",
        0.8,
        0.6,
        pytest.approx(0.75),
        0.25,
        10,
        "predicted",
        "black",
        "imagewoof",
        "",
    ]
    assert matrix.loc[0].tolist() == head
    assert matrix.loc[1, "accuracy_image"] == 0
    assert pd.isna(matrix.loc[1, "retention"])
    (job, _) = find_jobs(tmp_path)
    summary = summarise(job_rows(job))
    assert matrix.loc[0, "retention"] == summary["e6/soft/retention"]


def test_no_rows_give_no_table_and_an_empty_matrix():
    assert transfer_tables(gather([])) == []
    assert transfer_matrix(gather([])).empty


def odd_table():
    rows = pd.DataFrame(cell(9, 10, target="a_b & 50% #1 {x} ~ ^ \\ $ <i> | z", arm="image"))
    return transfer_table(pd.concat([rows, rows.assign(arm="soft")]).assign(variant=""), "e7")


def test_latex_specials_are_escaped():
    text = to_latex(odd_table())
    assert (
        r"a\_b \& 50\% \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$ "
        r"\textless{}i\textgreater{} \textbar{} z (I)"
    ) in text
    assert r"Accuracy (\%) & 90.00 & 90.00 \\" in text
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path):
    lines = [r"\documentclass{article}", r"\usepackage{booktabs}", r"\begin{document}"]
    document = "\n".join([*lines, to_latex(odd_table()), r"\end{document}"])
    (tmp_path / "t.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0


def test_markdown_cells_cannot_break_out():
    lines = to_markdown(odd_table()).splitlines()
    assert r"\\ $ &lt;i> \| z (I)" in lines[2]
    assert len({line.replace(r"\|", "").count("|") for line in lines[2:]}) == 1


def test_csv_reads_back_as_the_table():
    table = odd_table()
    read = list(csv.reader(to_csv(table).splitlines()))
    assert read == [list(table.columns), *(list(line) for line in table.itertuples(index=False))]


def test_the_terminal_shows_brackets_as_they_are():
    rows = pd.DataFrame(cell(9, 10, target="[red]e6[/red]", arm="image"))
    shown = io.StringIO()
    print_table(transfer_table(rows.assign(variant=""), "e7"), Console(width=200, file=shown))
    text = shown.getvalue()
    assert "[red]e6[/red] (I)" in text
    assert "90.00" in text


def test_the_three_files_carry_the_stem(tmp_path):
    table = odd_table()
    paths = table_files(table, "table7", tmp_path)
    assert [path.name for path in paths] == ["table7.md", "table7.csv", "table7.tex"]
    assert [path.read_text() for path in paths] == [to_markdown(table), to_csv(table), to_latex(table)]
