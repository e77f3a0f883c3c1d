"""`mee evaluate STORE ANNOTATIONS MODEL`: figures with what is needed to compare them."""

import json

import pandas as pd
import pytest

from mee.evaluation.result import read_result
from scripts.evaluate import main


@pytest.fixture
def evaluate(world, prints):
    return lambda *extra, captions=world.captions: prints(main, world.store, captions, world.model, *extra)


@pytest.fixture
def result_of(evaluate):
    return lambda *extra: json.loads(evaluate("--json", *extra).out)


def test_tables_by_default(evaluate):
    out, err = evaluate()
    assert "folder, test): 4 queries (every caption), 2 clips" in out
    for words in ("text to video", "video to text", "Ties: expected rank", "Normalisation: none"):
        assert words in out
    assert "warning" not in err


def test_json_is_the_result_and_so_is_the_file(result_of, tmp_path):
    result = result_of("--result", tmp_path / "r.json", "--name", "ours")
    assert read_result(tmp_path / "r.json").model_dump(mode="json") == result
    assert (result["protocol"]["queries"], result["protocol"]["gallery"]) == (4, 2)
    assert result["protocol"]["split"] == "test"
    assert result["protocol"]["streams"].keys() == {"appearance", "motion", "audio", "face"}
    expected = {"name": "ours", "seed": 0, "trained_on": "6 videos", "selected_here": False}
    assert {name: result["system"][name] for name in expected} == expected
    assert result["system"]["checkpoint"]
    assert result["made"]["command"].startswith("mee evaluate ")
    t2v = result["text_to_video"]
    assert t2v["metrics"].keys() >= {"R@1", "R@5", "R@10", "R@50", "MedR", "MeanR", "Geom", "MRR", "nDCG@10"}
    assert t2v["metrics"]["R@50"] == 100
    assert t2v["intervals"]["R@1"][0] <= t2v["metrics"]["R@1"] <= t2v["intervals"]["R@1"][1]
    assert sum(count for _, count in t2v["histogram"]) == 4
    assert {query["caption"] for query in result["best"]} == {query["caption"] for query in result["worst"]}
    assert all(query["right"]["video"] for query in result["best"])
    assert result["schemes"] == []


def test_ablation_and_no_intervals(result_of):
    result = result_of("--ablation", "--bootstrap", 0)
    assert {row["name"] for row in result["schemes"]} >= {"appearance", "uniform", "ignore-missing"}
    assert {row["name"] for row in result["removed"]} == {"appearance", "motion", "audio", "face"}
    assert sum(row["queries"] for row in result["patterns"]) == 4
    assert result["text_to_video"]["intervals"] == {}
    assert sum(result["weights"]["rows"][0][2]) == pytest.approx(100)


def test_the_rank_file_is_that_of_the_result(result_of, tmp_path):
    result = result_of("--ranks", tmp_path / "ranks.csv")
    ranks = pd.read_csv(tmp_path / "ranks.csv", dtype={"query_id": str}).set_index("query_id")
    assert len(ranks) == 4
    assert ranks["rank"].mean() == pytest.approx(result["text_to_video"]["metrics"]["MeanR"])
    worst = result["worst"][0]
    row = ranks.loc[worst["query_id"]]
    assert row["rank"] == worst["rank"]
    assert row[["top_1", "top_2"]].tolist() == [answer["clip_id"] for answer in worst["top"]]


@pytest.mark.parametrize("method", ["qb-norm", "nnn", "dsl"])
def test_normalisation_is_recorded(evaluate, result_of, method):
    recorded = result_of("--normalise.method", method)["rules"]["normalisation"]
    assert (recorded["method"], recorded["uses_test_queries"]) == (method, method == "dsl")
    assert ("training captions" in str(recorded["bank"])) == (method != "dsl")
    assert ("uses test queries" in evaluate("--normalise.method", method).out) == (method == "dsl")


@pytest.mark.parametrize(
    ("convention", "queries", "words"),
    [("closest", 2, "closest own caption"), ("video", 2, "videos ranked"), ("each", 4, "in turn")],
)
def test_the_convention_of_video_to_text_is_recorded(result_of, convention, queries, words):
    result = result_of("--v2t", convention)
    assert result["video_to_text"]["queries"] == queries
    assert words in result["rules"]["v2t"]


def test_the_validation_split_is_recorded(evaluate, world):
    out, err = evaluate("--split", "val", "--json")
    selects = json.loads((world.model / "training.json").read_text())["selects"]
    result = json.loads(out)
    assert result["protocol"]["split"] == "val"
    assert result["system"]["selected_on"] == ("validation" if selects else "nothing")
    assert result["system"]["selected_here"] is selects
    assert ("selected on these videos" in err) is selects


def test_partial_is_written_into_the_result(evaluate, world, tmp_path, fails):
    captions = tmp_path / "more.csv"
    captions.write_text(world.captions.read_text() + "elsewhere,a caption,test\n")
    assert "--partial" in fails(main, world.store, captions, world.model)
    out, err = evaluate("--partial", "--json", captions=captions)
    assert json.loads(out)["protocol"]["partial"] is True
    assert json.loads(out)["protocol"]["left_out"] == ["elsewhere"]
    assert "partial: left out 1" in err


def test_captions_that_cannot_be_evaluated_on(world, tmp_path, fails):
    captions = tmp_path / "captions.csv"
    own = (world.store, captions, world.model)
    captions.write_text("video_id,caption\nclip8,a thing\n")
    assert "use --split val" in fails(main, *own, "--split", "test")
    assert "held out" in fails(main, *own)
    lines = world.captions.read_text().splitlines()
    captions.write_text("\n".join(line for line in lines if not line.endswith(",train")) + "\n")
    assert "needs a bank" in fails(main, *own, "--normalise.method", "nnn")


def test_names_that_cannot_be_written_to_are_refused_before_any_work(world, tmp_path, fails):
    (tmp_path / "folder.json").mkdir()
    for flag, value, message in (
        ("--result", tmp_path / "r.txt", "written as .json"),
        ("--result", tmp_path / "none" / "r.json", "there is no folder"),
        ("--result", tmp_path / "folder.json", "is a folder"),
        ("--ranks", tmp_path / "r.txt", ".csv or .parquet"),
        ("--protocol", "msrvtt-1k", "did you mean 'msrvtt-1ka'"),
    ):
        assert message in fails(main, world.store, world.captions, world.model, flag, value)
