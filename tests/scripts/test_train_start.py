"""`mee train --start MODEL`: what a run records of the model it started from, and what it refuses."""

import json
import shutil

from mee.checkpoint import fingerprint, read_training
from mee.model import MEE
from scripts.evaluate import main as evaluate

STEPS = ("--epochs", 1, "--batch-size", 4)


def test_a_model_goes_on_and_its_record_knows_every_video_it_has_learnt_from(train, world, tmp_path, prints):
    captions = tmp_path / "fewer.csv"
    kept = [
        line for line in world.captions.open() if line.split(",")[0] in ("video_id", "clip0", "clip1", "clip6")
    ]
    captions.write_text("".join(kept))
    train("--start", world.model, *STEPS, captions=captions, tiny=())
    record, before = read_training(train.model), read_training(world.model)
    assert record["start"] == {"model": str(world.model), "fingerprint": fingerprint(world.model)}
    assert record["videos"]["train"] == before["videos"]["train"]  # more than its own
    assert record["contents"]["train"] == before["contents"]["train"]
    assert record["videos"]["val"] == ["clip6.mp4"]
    assert [entry["epoch"] for entry in record["history"]] == [0, 1]
    assert MEE.from_pretrained(train.model).config == MEE.from_pretrained(world.model).config
    assert "text to video" in prints(evaluate, world.store, world.captions, train.model).out.lower()


def test_what_a_start_cannot_be(train, world, tmp_path, says):
    other = shutil.copytree(world.model, tmp_path / "other")
    settings = json.loads((other / "config.json").read_text())
    settings["experts"][0]["fingerprint"] = "another"
    (other / "config.json").write_text(json.dumps(settings))
    cases = [
        ("--start", tmp_path / "nowhere"),
        ("--start", "closed_form"),
        ("--start", other),
        ("--start", world.model, "--streams", "audio", "--text.width", "32"),
        ("--start", world.model, "--preset", "paper"),
    ]
    said = [train(*case, tiny=(), code=1).err.replace(str(world.place), "WORLD") for case in cases]
    assert not train.model.exists()
    says("".join(said))
