"""`mee train`: a stopped run is resumed, and nothing is replaced without --overwrite."""

import json

import pytest
from safetensors.numpy import load_file

from mee.model import MEE
from scripts.train import main


def test_a_model_and_the_record_of_its_training(world):
    record = json.loads((world.model / "training.json").read_text())
    assert record["videos"]["train"] == [f"clip{n}.mp4" for n in range(6)]
    assert record["videos"]["val"] == ["clip6.mp4", "clip7.mp4"]
    assert record["training"]["epochs"] == 2
    assert [entry["epoch"] for entry in record["history"]] == [1, 2]
    assert MEE.from_pretrained(world.model).modalities == ("appearance", "motion", "audio", "face")
    assert not world.model.with_name("model.training").exists()


def test_progress_goes_to_stderr_only(train):
    out, err = train("--streams", "audio", "appearance")
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
    train(code=130)
    return done


def test_a_stopped_run_is_resumed_and_gives_the_same_model(train, stopped, world):
    assert not train.model.exists()
    assert (train.work / "state.safetensors").is_file()
    train()
    assert stopped == [1, 2]
    assert not train.work.exists()
    ours, theirs = (load_file(model / "model.safetensors") for model in (train.model, world.model))
    assert ours.keys() == theirs.keys()
    assert all((ours[name] == theirs[name]).all() for name in ours)


def test_an_unfinished_run_with_other_settings_is_refused(train, stopped):
    error = train("--seed", "5", code=1).err.strip().splitlines()[-1]
    assert "unfinished run with other settings" in error
    assert "--overwrite" in error
    train("--seed", "5", "--overwrite")
    assert stopped == [1, 1, 2]


def test_a_model_is_replaced_only_by_overwrite(train):
    train("--epochs", "1")
    before = (train.model / "model.safetensors").read_bytes()
    assert "replace it with --overwrite" in train(code=1).err
    assert (train.model / "model.safetensors").read_bytes() == before
    train("--seed", "3", "--overwrite")
    assert (train.model / "model.safetensors").read_bytes() != before
    assert not train.work.exists()


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_another_file_or_directory_is_never_replaced(world, fails, tmp_path, monkeypatch, overwrite):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "film.mp4").write_text("dear to me")
    (tmp_path / "file").write_text("dear to me")
    for place in (tmp_path / "mine", tmp_path / "file", "."):
        assert "is not a model" in fails(main, world.store, world.captions, place, *overwrite)
    assert (tmp_path / "mine" / "film.mp4").read_text() == (tmp_path / "file").read_text() == "dear to me"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "mine"]


def test_partial_leaves_unknown_videos_out(train, world, tmp_path):
    captions = tmp_path / "more.csv"
    captions.write_text(world.captions.read_text() + "elsewhere,a caption,train\n")
    error = train(captions=captions, code=1).err
    assert "elsewhere (not in the store)" in error
    assert "--partial" in error
    assert "left out 1 captioned videos" in train("--partial", captions=captions).err
    assert json.loads((train.model / "training.json").read_text())["left_out"] == ["elsewhere"]


def test_captions_without_a_split_hold_videos_out(train, tmp_path):
    captions = tmp_path / "captions.jsonl"
    rows = [{"video": f"clip{number}", "caption": f"number {number}"} for number in range(10)]
    captions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "3 videos held out by seed 0" in train("--validation", "0.3", captions=captions).err
