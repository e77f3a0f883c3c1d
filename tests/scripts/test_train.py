"""`mee train`: a run that was stopped goes on, and nothing is replaced unasked."""

import json

import pytest
from safetensors.numpy import load_file

from mee.model import MEE
from scripts.train import main


@pytest.fixture
def train(world, tmp_path):
    def run(*extra, model=tmp_path / "model", captions=world.captions):
        return main([str(world.store), str(captions), str(model), *world.tiny, *map(str, extra)])

    run.model = tmp_path / "model"
    run.work = tmp_path / "model.training"
    return run


def test_a_model_and_how_it_came_to_be(world):
    record = json.loads((world.model / "training.json").read_text())
    assert record["videos"]["train"] == [f"clip{n}.mp4" for n in range(6)]
    assert record["videos"]["val"] == ["clip6.mp4", "clip7.mp4"]
    assert record["training"]["epochs"] == 2
    assert [entry["epoch"] for entry in record["history"]] == [1, 2]
    assert MEE.from_pretrained(world.model).modalities == ("appearance", "motion", "audio", "face")
    assert not world.model.with_name("model.training").exists()


def test_progress_goes_to_stderr_only(train, capsys):
    assert train("--streams", "audio", "appearance") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "training on 12 captions of 6 videos, selecting on 4 captions of 2" in err
    assert "model in" in err
    assert MEE.from_pretrained(train.model).modalities == ("audio", "appearance")


@pytest.fixture
def stopped(train, monkeypatch):
    """Stop a run after its first epoch; returns the list of epochs that later runs do."""
    from mee.training import trainer as training

    whole, done = training.save_state, []

    def save(path, trainer, signature):
        whole(path, trainer, signature)
        done.append(trainer.progress.epoch)
        if done == [1]:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_state", save)
    assert train() == 130
    return done


def test_a_stopped_run_goes_on_and_ends_as_an_unbroken_one(train, stopped, world):
    assert not train.model.exists()
    assert (train.work / "state.safetensors").is_file()
    assert train() == 0
    assert stopped == [1, 2]
    assert not train.work.exists()
    ours, theirs = (load_file(model / "model.safetensors") for model in (train.model, world.model))
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


def test_an_unfinished_run_with_other_settings_is_refused(train, stopped, capsys):
    assert train("--seed", "5") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "unfinished run with other settings" in error
    assert "--overwrite" in error
    assert train("--seed", "5", "--overwrite") == 0
    assert stopped == [1, 1, 2]


def test_a_model_is_replaced_only_by_overwrite(train, fails, world):
    assert train("--epochs", "1") == 0
    before = (train.model / "model.safetensors").read_bytes()
    assert "replace it with --overwrite" in fails(main, world.store, world.captions, train.model, *world.tiny)
    assert (train.model / "model.safetensors").read_bytes() == before
    assert train("--seed", "3", "--overwrite") == 0
    assert (train.model / "model.safetensors").read_bytes() != before
    assert not train.work.exists()


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_what_is_no_model_is_never_replaced(world, fails, tmp_path, monkeypatch, overwrite):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "film.mp4").write_text("dear to me")
    (tmp_path / "file").write_text("dear to me")
    for place in (tmp_path / "mine", tmp_path / "file", "."):
        assert "is not a model" in fails(main, world.store, world.captions, place, *overwrite)
    assert (tmp_path / "mine" / "film.mp4").read_text() == (tmp_path / "file").read_text() == "dear to me"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine"]


def test_partial_leaves_unknown_videos_out(train, world, fails, tmp_path, capsys):
    captions = tmp_path / "more.csv"
    captions.write_text(world.captions.read_text() + "elsewhere,a caption,train\n")
    error = fails(main, world.store, captions, train.model, *world.tiny)
    assert "elsewhere (not in the store)" in error
    assert "--partial" in error
    assert train("--partial", captions=captions) == 0
    assert "left out 1 captioned videos" in capsys.readouterr().err
    assert json.loads((train.model / "training.json").read_text())["left_out"] == ["elsewhere"]


def test_captions_without_a_split_hold_videos_out(train, tmp_path, capsys):
    captions = tmp_path / "captions.jsonl"
    captions.write_text(
        "".join(json.dumps({"video": f"clip{n}", "caption": f"number {n}"}) + "\n" for n in range(10))
    )
    assert train("--validation", "0.3", captions=captions) == 0
    assert "3 videos held out by seed 0" in capsys.readouterr().err
