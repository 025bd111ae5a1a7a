import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from harmonia.errors import InputError
from harmonia.report.tables.transfer import transfer_matrix, transfer_tables
from harmonia.results import parquet
from harmonia.results.gathered import gather, job_rows
from harmonia.results.jobs import find_jobs
from harmonia.results.rows import read_pieces, row_writer, write_summary
from harmonia.results.summary import summarise_job
from harmonia.statistics.comparison import compare
from harmonia.statistics.contrasts import methods

pytestmark = pytest.mark.usefixtures("few_resamples")

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
    with row_writer(folder) as append:
        for columns in cells:
            append(columns)
    write_summary(folder, {"images_unreadable": unreadable})


def gathered(folder):
    return gather([job_rows(job) for job in find_jobs(folder)])


def tables_of(rows):
    return transfer_tables(compare(rows), "soft")


def matrix_of(rows):
    return transfer_matrix(compare(rows))


def transfer(hits, count=10, **options):
    """One job: for each target the hits on the whole image and on the feature."""
    return [
        cell(right, count, target=target, arm=arm, kept=area, **options)
        for target, pair in hits.items()
        for arm, right, area in (("image", pair[0], 1.0), ("soft", pair[1], 0.25))
    ]


def test_tables_go_by_family_then_source_and_never_mix_settings(tmp_path):
    plant(tmp_path / "0", transfer({"e6": (9, 8)}, source="vit"), source="vit")
    plant(tmp_path / "1", transfer({"e6": (9, 8)}))
    plant(tmp_path / "2", transfer({"e6": (9, 7)}, policy="true"))
    plant(tmp_path / "3", transfer({"e6": (9, 6)}, fill="mean"))
    plant(tmp_path / "4", transfer({"e6": (9, 5)}), data={"name": "imagenette"})
    plant(tmp_path / "5", transfer({"e6": (9, 4)}, first=100))  # other images under the same name
    tables = tables_of(gathered(tmp_path))
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


def test_a_cell_that_ran_twice_counts_once_and_the_later_job_wins(tmp_path):
    plant(tmp_path / "9", transfer({"e6": (9, 8), "e5": (9, 3)}))
    plant(tmp_path / "10", transfer({"e6": (9, 6)}))
    (table,) = tables_of(gathered(tmp_path))
    assert table.loc[0, ["e6 (F)", "e5 (F)"]].tolist() == ["60.00", "30.00"]


def test_methods_meet_on_the_images_that_both_ran_on(tmp_path):
    """Grad-CAM on all ten images, Soundness Saliency on four: the same data, and a table of methods."""
    config = {"name": "woof", "root": "/woof"}
    plant(tmp_path / "0", transfer({"e6": (10, 6)}, method="gc"), data=config | {"per_class": None})
    plant(tmp_path / "1", transfer({"e6": (4, 4)}, count=4), data=config | {"per_class": 1})
    (comparison,) = compare(gathered(tmp_path))
    (line, _) = methods(comparison).itertuples()
    assert (line.first_method, line.second_method) == ("ss", "gc")
    assert (line.difference, line.only_first, line.only_second) == (0, 0, 0)  # on the four, both keep all
    (table,) = transfer_tables([comparison], "soft")
    assert "woof, GC 10, SS 4 images" in table.attrs["caption"]


def test_of_a_cell_on_more_images_and_on_fewer_the_former_counts(tmp_path):
    for name, count, per_class in (("0", 10, None), ("1", 4, 1)):
        data = {"name": "woof", "per_class": per_class}
        plant(tmp_path / name, transfer({"e6": (count, count // 2)}, count=count), data=data)
    matrix = matrix_of(gathered(tmp_path))
    assert matrix["images"].tolist() == [10]
    assert matrix["variant"].tolist() == [""]


def test_sets_of_which_none_holds_the_other_are_two(tmp_path):
    plant(tmp_path / "0", transfer({"e6": (9, 8)}), data={"name": "woof", "limit": 10})
    plant(tmp_path / "1", transfer({"e6": (9, 7)}, first=5), data={"name": "woof", "limit": 10})
    assert len(compare(gathered(tmp_path))) == 2


def test_the_later_of_two_jobs_is_that_which_began_later_whatever_its_name(tmp_path):
    for name, hits, started in (
        ("single/9", 6, "2026-11-01T00:00:00"),
        ("sweep/0", 8, "2026-11-22T00:00:00"),
    ):
        plant(tmp_path / name, transfer({"e6": (9, hits)}))
        (tmp_path / name / "environment.json").write_text(json.dumps({"started": started}))
    (tmp_path / "sweep").rename(tmp_path / "a-sweep")  # before "single" by name
    (table,) = tables_of(gathered(tmp_path))
    assert table.loc[0, "e6 (F)"] == "80.00"


@pytest.mark.parametrize("column", ["image_id", "target", "arm", "source"])
def test_rows_without_a_name_that_they_need_are_refused(tmp_path, column):
    plant(tmp_path / "0", transfer({"e6": (9, 8)}))
    path = tmp_path / "0" / "rows.parquet"
    rows = pq.read_table(path)
    values = rows[column].to_pylist()
    field = rows.schema.get_field_index(column)
    holed = pa.array([None, *values[1:]], pa.string()).cast(rows.schema.field(column).type)
    pq.write_table(rows.set_column(field, rows.schema.field(column), holed), path)
    (job,) = find_jobs(tmp_path)
    with pytest.raises(InputError, match=f"must name their .*{column}.*run the job again"):
        job_rows(job)


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
@pytest.mark.slow
def test_jobs_that_differ_in_an_option_are_all_shown_and_say_which(tmp_path, changes, shown):
    plant(tmp_path / "0", transfer({"e7": (9, 8), "e6": (9, 7)}), **BASE)
    plant(tmp_path / "1", transfer({"e7": (9, 6), "e6": (9, 5)}), **BASE | changes)
    rows = gathered(tmp_path)
    (table,) = tables_of(rows)
    accuracy = table[table["Metric"] == "Accuracy (%)"]
    assert accuracy["Method"].tolist() == [f"SS ({variant})" if variant else "SS" for variant in shown]
    assert accuracy[["e7 (F)", "e6 (F)"]].values.tolist() == [["80.00", "70.00"], ["60.00", "50.00"]]
    matrix = matrix_of(rows)
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
        {"data": {"name": "imagewoof", "labels": None, "boxes": None}},
        {"evaluation": BASE["evaluation"] | {"representations": 0, "controls": {"blobs": [0.3], "seed": 0}}},
        {"evaluation": BASE["evaluation"] | {"controls": None}},
    ],
)
@pytest.mark.slow
def test_what_changes_no_number_is_no_variant(tmp_path, changes):
    plant(tmp_path / "0", transfer({"e6": (9, 8)}), **BASE)
    plant(tmp_path / "1", transfer({"e6": (9, 6)}), **BASE | changes)
    (table,) = tables_of(gathered(tmp_path))
    assert table["Method"].unique().tolist() == ["SS"]
    assert table.loc[0, "e6 (F)"] == "60.00"


def test_a_target_shown_black_instead_of_its_fill_makes_no_variant_of_black(tmp_path):
    for name, target in (("drop_tokens.DropTokens", "e6"), ("black.Black", "e6")):
        fill = {"name": name.partition(".")[0], "_target_": f"harmonia.features.fill.{name.partition('.')[2]}"}
        plant(tmp_path / fill["name"], transfer({target: (9, 8)}), **BASE | {"fill": fill})
    (table,) = tables_of(gathered(tmp_path))
    assert table["Method"].unique().tolist() == ["SS"]


def test_a_targets_own_options_make_variants_of_its_cells_alone(tmp_path):
    for number, (weights, hits) in enumerate((("hub", 8), ("mine.pth", 7))):
        source, e6 = {"name": "e7", "family": "efficientnet"}, {"name": "e6", "weights": weights, "crop_pct": None}
        config = BASE | {"target": {"self": source, "e6": e6}}
        plant(tmp_path / str(number), transfer({"e7": (9, 6), "e6": (9, hits)}), **config)
    (table,) = tables_of(gathered(tmp_path))
    accuracy = table.loc[table["Metric"] == "Accuracy (%)", ["Method", "e7 (F)", "e6 (F)"]]
    assert accuracy.values.tolist() == [
        ["SS (target.e6.weights=hub)", "\N{EN DASH}", "80.00"],
        ["SS", "60.00", "\N{EN DASH}"],
        ["SS (target.e6.weights=mine.pth)", "\N{EN DASH}", "70.00"],
    ]


def test_only_variants_of_one_method_are_compared(tmp_path):
    plant(tmp_path / "0", transfer({"e6": (9, 8)}), **BASE)
    plant(tmp_path / "1", transfer({"e6": (9, 6)}, method="gc"), **BASE | {"method": {"name": "gc", "layer": "auto"}})
    (table,) = tables_of(gathered(tmp_path))
    assert table["Method"].unique().tolist() == ["SS", "GC"]


@pytest.mark.parametrize(
    ("one", "other"), [({"variant": "full"}, {"variant": "160px"}), ({"root": "/clear"}, {"root": "/fog"})]
)
def test_two_variants_of_a_data_set_never_share_a_table(tmp_path, one, other):
    for number, options in enumerate((one, other)):
        config = BASE | {"data": {"name": "imagewoof", **options}}
        plant(tmp_path / str(number), transfer({"e6": (9, 8 - number)}), **config)
    tables = tables_of(gathered(tmp_path))
    assert [table.loc[0, "e6 (F)"] for table in tables] == ["80.00", "70.00"]
    captions = {table.attrs["caption"] for table in tables}
    assert len(captions) == 2
    assert all("imagewoof [" in caption for caption in captions)


def test_an_arm_that_one_method_lacks_is_a_dash(tmp_path):
    plant(tmp_path / "0", transfer({"e6": (9, 8)}))
    plant(tmp_path / "1", [cell(9, 10, target="e6", arm="image", method="gc")])
    (table,) = tables_of(gathered(tmp_path))
    of_method = table[(table["Method"] == "GC") & ~table["Metric"].str.endswith("printed")]
    assert set(of_method["e6 (F)"]) == {"\N{EN DASH}"}


def test_the_matrix_holds_the_summarys_fractions(tmp_path):
    plant(tmp_path / "0", transfer({"e6": (8, 6)}))
    plant(tmp_path / "1", transfer({"e6": (0, 0)}, method="gc"))
    matrix = matrix_of(gathered(tmp_path))
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
    assert matrix.loc[0].tolist()[: len(head)] == head
    assert matrix.loc[1, "accuracy_image"] == 0
    assert pd.isna(matrix.loc[1, "retention"])
    (job, _) = find_jobs(tmp_path)
    summary = summarise_job(job.folder)
    assert matrix.loc[0, "retention"] == pytest.approx(summary["e6/soft/retention"])


def test_pieces_of_any_size_give_the_same_numbers(tmp_path, monkeypatch):
    plant(tmp_path / "0", transfer({"e7": (9, 8), "e6": (8, 5)}))
    plant(tmp_path / "1", transfer({"e7": (9, 4)}, fill="mean"))
    whole, summary = matrix_of(gathered(tmp_path)), summarise_job(tmp_path / "0")
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 1)
    assert [len(piece) for piece in read_pieces(tmp_path / "0", ["arm"])] == [10] * 4  # row groups, as written
    pd.testing.assert_frame_equal(matrix_of(gathered(tmp_path)), whole, check_exact=True)
    assert summarise_job(tmp_path / "0") == summary


@pytest.mark.parametrize("column", ["top5", "p_label", "arm"])
def test_rows_that_are_damaged_anywhere_are_refused_before_any_is_used(tmp_path, column):
    plant(tmp_path / "0", transfer({"e6": (9, 8)}))
    path = tmp_path / "0" / "rows.parquet"
    with pq.ParquetFile(path) as file:
        group = file.metadata.row_group(file.num_row_groups - 1)
    names = [group.column(number).path_in_schema.split(".")[0] for number in range(group.num_columns)]
    start = group.column(names.index(column)).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    (job,) = find_jobs(tmp_path)
    with pytest.raises(InputError, match="must be readable Parquet"):
        job_rows(job)


def test_no_rows_give_no_table_and_an_empty_matrix():
    assert tables_of(gather([])) == []
    assert matrix_of(gather([])).empty


def test_rows_twice_in_one_job_are_refused(tmp_path):
    plant(tmp_path / "0", [cell(1, 2, target="e6", arm="soft")] * 2)
    (job,) = find_jobs(tmp_path)
    with pytest.raises(InputError, match="one per image, target and arm"):
        job_rows(job)


def test_what_a_job_recorded_of_its_networks_stands_in_its_rows(tmp_path):
    targets = {"self": {"name": "e7"}, "vit": {"name": "vit", "family": "vit"}}
    plant(tmp_path / "0", transfer({"e7": (9, 8), "vit": (9, 7)}), target=targets)
    (job,) = find_jobs(tmp_path)
    before = job_rows(job).cells.set_index("target")
    assert before["source_parameters"].isna().all()  # an earlier version's
    (tmp_path / "0" / "environment.json").write_text(
        '{"networks": {"e7": {"parameters": 66}, "vit": {"parameters": 86}}}'
    )
    (job,) = find_jobs(tmp_path)
    cells = job_rows(job).cells.set_index("target")
    assert set(cells["source_parameters"]) == {66}
    assert cells["target_parameters"].groupby("target").first().to_dict() == {"e7": 66, "vit": 86}
    assert cells["target_family"].groupby("target").first().to_dict() == {"e7": "efficientnet", "vit": "vit"}
    assert not cells["random_weights"].any()


def test_random_weights_are_marked(tmp_path):
    plant(tmp_path / "0", transfer({"e6": (9, 8)}))
    config = tmp_path / "0" / "config.yaml"
    config.write_text(config.read_text().replace("name: e7", "name: e7\n  weights: random"))
    rows = gathered(tmp_path)
    assert rows.cells["random_weights"].all()
    (table,) = tables_of(rows)
    assert table.attrs["caption"].startswith("Source e7 (random weights), ")
    assert "Accuracy, printed" not in set(table["Metric"])
