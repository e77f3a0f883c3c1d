"""`mee evaluate`: figures with what is needed to compare them."""

import json

import pytest

from scripts.evaluate import main


@pytest.fixture
def evaluate(world, capsys):
    def run(*extra, captions=world.captions):
        assert main([str(world.store), str(captions), str(world.model), *extra]) == 0
        return capsys.readouterr()

    return run


def test_a_table_by_default(evaluate):
    out, err = evaluate()
    assert "split test: 4 captions, 2 clips" in out
    assert "text to video" in out
    assert "video to text" in out
    assert "ties: expected rank" in out
    assert err == ""


def test_json_is_one_object_a_scheme(evaluate):
    (report,) = map(json.loads, evaluate("--json")[0].splitlines())
    assert (report["queries"], report["gallery"], report["context"]["split"]) == (4, 2, "test")
    assert report["t2v"].keys() >= {"R@1", "R@5", "R@10", "R@50", "MedR", "MeanR", "Geom"}
    assert report["context"].keys() >= {"checkpoint", "seed", "partial", "left_out"}
    assert report["t2v"]["R@50"] == 100
    reports = [json.loads(line) for line in evaluate("--json", "--ablation")[0].splitlines()]
    assert len({r["scheme"] for r in reports}) == len(reports) >= 6
    assert reports[0]["t2v"] == report["t2v"]


def test_the_validation_split_says_what_it_is(evaluate, world):
    out, err = evaluate("--split", "val", "--json")
    selects = json.loads((world.model / "training.json").read_text())["selects"]
    assert json.loads(out)["context"]["selected_on_this_split"] is selects
    assert ("selected on these videos" in err) is selects


def test_partial_is_written_into_the_figures(evaluate, world, tmp_path, fails):
    captions = tmp_path / "more.csv"
    captions.write_text(world.captions.read_text() + "elsewhere,a caption,test\n")
    assert "--partial" in fails(main, world.store, captions, world.model)
    out, err = evaluate("--partial", "--json", captions=captions)
    assert json.loads(out)["context"]["partial"] is True
    assert json.loads(out)["context"]["left_out"] == ["elsewhere"]
    assert "partial: left out 1" in err


def test_training_videos_are_refused_as_a_test(world, tmp_path, fails):
    captions = tmp_path / "swapped.csv"
    captions.write_text(
        world.captions.read_text().replace("train", "x").replace("test", "train").replace(",x", ",test")
    )
    assert "the model was trained on 6 videos of split 'test'" in fails(main, world.store, captions, world.model)


def test_no_split_named_test(world, tmp_path, fails):
    captions = tmp_path / "captions.csv"
    captions.write_text("video_id,caption\nclip8,a thing\n")
    assert "use --split val" in fails(main, world.store, captions, world.model, "--split", "test")
    assert "held out" in fails(main, world.store, captions, world.model)
