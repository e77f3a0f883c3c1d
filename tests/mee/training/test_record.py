"""training.json says what a model was trained and selected on, and earlier records are still read."""

import json
from dataclasses import replace

import pytest

from mee.data.splits import Split
from mee.evaluation.held_out import selected_on, trained_on
from mee.protocols.annotations import Annotations
from mee.training.trainer import training_record


@pytest.fixture
def trainer(make_trainer, world):
    source = world[0]
    source.clips = source.clips.assign(file_sha256=[f"{n:02d}" + "e" * 62 for n in range(len(source.clips))])
    return make_trainer()


@pytest.fixture
def split(world):
    return Split(world[1], world[2], ("gone.mp4",), ())


def test_what_a_record_says(trainer, split, world):
    annotations = Annotations(
        table=None, protocol="msrvtt-1ka", train_list="9k", files={"test": "a.csv sha256:00"}, shortfalls=("few",)
    )
    record = training_record(trainer, split, "store", "files", annotations)
    assert json.loads(json.dumps(record)) == record
    assert (record["protocol"], record["train_list"]) == ("msrvtt-1ka", "9k")
    assert record["files"] == {"test": "a.csv sha256:00"}
    assert record["shortfalls"] == ["few"]
    assert record["videos"] == {part: sorted(set(world[n].videos)) for n, part in ((1, "train"), (2, "val"))}
    assert record["contents"] == {"train": {f"v{n:02d}.mp4": f"{n:02d}" + "e" * 14 for n in range(32)}}
    assert record["left_out"] == ["gone.mp4"]
    assert record["selected_on"] == selected_on(record) == "validation"
    assert trained_on(record) == "32 videos of msrvtt-1ka, list 9k"


def test_a_record_of_your_own_table_of_images_and_of_what_was_selected_on(
    trainer, make_trainer, split, stills, world
):
    record = training_record(trainer, split, "store", "captions.csv")
    assert (record["protocol"], record["train_list"], record["files"]) == ("folder", None, {})
    assert trained_on(record) == "32 videos"
    on_test = replace(split, selected_on_test=True)
    record = training_record(trainer, on_test, "store", "captions.csv")
    assert record["selected_on"] == selected_on(record) == "test"
    assert record["videos"]["val"] == []
    assert record["videos"]["test"] == sorted(set(world[2].videos))
    trainer.validation = world[2].where([number < 2 for number in range(len(world[2]))])  # too few to select
    for some in (split, on_test):
        assert training_record(trainer, some, "store", "captions.csv")["selected_on"] == "nothing"
    world[0].clips = world[0].clips.drop(columns="file_sha256")
    stills[0].clips = stills[0].clips.assign(file_sha256="f" * 64)
    record = training_record(make_trainer(images=stills), split, "store", "captions.csv")
    names = [f"i{number}.png" for number in range(10)]
    assert record["videos"]["images"] == names
    assert record["contents"] == {"train": {}, "images": dict.fromkeys(names, "f" * 16)}
    assert trained_on(record) == "32 videos, and 10 images"


@pytest.mark.parametrize(
    ("record", "selected", "trained"),
    [
        ({}, "unknown", None),
        ({"videos": {"train": ["a"] * 1200, "val": ["b"]}}, "validation", "1,200 videos"),
        ({"videos": {"train": ["a"], "val": ["b"]}, "selects": False}, "nothing", "1 videos"),
        ({"videos": {"train": [], "val": []}, "selected_on": "by feeling"}, "validation", None),
        ({"videos": {"train": ["a"]}, "protocol": "msvd", "train_list": None}, "validation", "1 videos of msvd"),
    ],
)
def test_records_of_earlier_versions(record, selected, trained):
    assert selected_on(record) == selected
    assert trained_on(record) == trained
