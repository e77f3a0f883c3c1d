"""`mee train` on a benchmark's files: its splits, what is held out, what is refused, what the model records."""

import hashlib
import json
import shutil
from types import SimpleNamespace

import pytest

from features.store.feature_store import FeatureStore
from mee.checkpoint import read_training
from mee.errors import InputError
from mee.evaluation.held_out import held_out_pairs, selected_on, trained_on
from mee.protocols.table import load_benchmark
from mee.training import trainer
from scripts.precompute import main as precompute
from scripts.train import main

TRAIN, VAL, TEST = (0, 1, 2, 3, 4, 5), (6513,), (7010, 7011)
SPLITS = {"train": TRAIN, "validate": VAL, "test": TEST}
DUPLICATE = 7011  # in some tests the same file as video0


def video(number):
    return f"video{number}"


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def extract(videos, store):
    assert precompute([str(videos), str(store), "--workers", "1", "--streams", "appearance"]) == 0


@pytest.fixture(scope="module")
def bench(world, tmp_path_factory):
    """A store of nine videos of MSR-VTT, and the annotation files cut down to them; of each 20 captions."""
    place = tmp_path_factory.mktemp("bench")
    videos, files = place / "videos", place / "annotations"
    videos.mkdir()
    files.mkdir()
    numbers = [(split, number) for split, numbers in SPLITS.items() for number in numbers]
    for clip, (_, number) in enumerate(numbers):
        shutil.copy(world.videos / f"clip{clip}.mp4", videos / f"video{number}.mp4")
    extract(videos, place / "store")
    sentences = [
        {"sen_id": 20 * number + turn, "video_id": video(number), "caption": f"{number} turns {turn} times"}
        for _, number in numbers
        for turn in range(20)
    ]
    rows = [{"video_id": video(number), "split": split} for split, number in numbers]
    (files / "MSRVTT_data.json").write_text(json.dumps({"info": {}, "videos": rows, "sentences": sentences}))
    fixed = [f"ret{n},msr{n},video{n},{n} is fixed" for n in TEST]
    write(files / "MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence", *fixed)
    for name in ("9k", "7k"):
        write(files / f"MSRVTT_train.{name}.csv", "video_id", *map(video, (*TRAIN, *VAL)))
    return SimpleNamespace(place=place, videos=videos, files=files, store=place / "store")


@pytest.fixture
def held(bench):
    """What a model of this record may be asked of the full test."""

    def run(record, store=bench.store, files=bench.files):
        table = load_benchmark("msrvtt-full", files, partial=True).table
        settings = {"split": "test", "partial": False, "protocol": "msrvtt-full"}
        return held_out_pairs(table, FeatureStore(store), record, **settings)

    return run


@pytest.fixture
def train(world, bench, tmp_path, prints):
    """Train as a user does; returns the record and stderr."""

    def run(*extra, store=bench.store, files=bench.files, partial=True, code=0):
        arguments = [store, files, tmp_path / "model", *world.tiny, "--epochs=1", *extra]
        out, err = prints(main, *arguments, *(["--partial"] if partial else []), code=code)
        assert out == ""
        return read_training(tmp_path / "model"), err

    return run


def test_the_protocols_own_validation_split_chooses(train, bench, held):
    record, said = train("--protocol", "msrvtt-full")
    assert record["videos"] == {"train": [f"video{n}.mp4" for n in TRAIN], "val": ["video6513.mp4"]}
    assert (record["protocol"], record["train_list"]) == ("msrvtt-full", None)
    digest = hashlib.sha256((bench.files / "MSRVTT_data.json").read_bytes()).hexdigest()
    assert f"MSRVTT_data.json sha256:{digest}" in record["files"].values()
    assert record["selected_on"] == "validation"
    assert "warning" not in said
    assert record["shortfalls"]
    assert all(sentence in said for sentence in record["shortfalls"])
    assert "training on 120 captions of 6 videos, selecting on 20 captions of 1" in said
    assert trained_on(record) == "6 videos of msrvtt-full"
    known = FeatureStore(bench.store).clips["file_sha256"]
    assert (held(record).selected, held(record).unchecked) == (False, "")
    assert record["contents"] == {"train": {f"video{n}.mp4": known[f"video{n}.mp4"][:16] for n in TRAIN}}


@pytest.mark.parametrize("name", ["9k", "7k"])
def test_without_a_validation_split_training_videos_are_held_out_by_seed(train, name):
    record, said = train("--protocol", "msrvtt-1ka", "--train-list", name, "--validation", "0.5")
    assert record["train_list"] == name
    assert f"train list {name}" in record["files"]
    assert "1 videos held out by seed 0" in said  # a fifth of seven; of 9,000 it is 1,000
    parts = record["videos"]
    assert len(parts["val"]) == 1
    assert sorted(parts["train"] + parts["val"]) == sorted(f"video{n}.mp4" for n in (*TRAIN, *VAL))
    assert record["selected_on"] == "validation"


def test_selecting_on_test_is_warned_of_and_stamped(train, held):
    record, said = train("--protocol", "msrvtt-full", "--select-on-test")
    assert "warning: --select-on-test chooses the epoch on the 40 test captions" in said
    assert "selecting on 40 captions of 2" in said
    names = {"train": [f"video{n}.mp4" for n in TRAIN], "val": [], "test": ["video7010.mp4", "video7011.mp4"]}
    assert record["videos"] == names
    assert selected_on(record) == "test"
    assert "selected on this very test" in held(record).notes[0]


def test_a_model_of_the_9k_list_is_refused_for_the_full_test(train, bench, held):
    files = shutil.copytree(bench.files, bench.place / "crossed")
    fixed = "ret0,msr0,video7010,it is fixed"
    write(files / "MSRVTT_JSFUSION_test.csv", "key,vid_key,video_id,sentence", fixed)
    write(files / "MSRVTT_train.9k.csv", "video_id", *map(video, (*TRAIN, *VAL, 7011)))
    record, _ = train("--protocol", "msrvtt-1ka", "--seed", "3", files=files)
    assert "video7011.mp4" in record["videos"]["train"]
    with pytest.raises(InputError, match=r"1 videos .*'video7011.*it was trained on msrvtt-1ka, list 9k"):
        held(record, files=files)


@pytest.fixture
def make_store(tmp_path):
    """make_store({"video0": path of its file}): a store of these videos."""

    def make(files):
        (tmp_path / "videos").mkdir()
        for name, path in files.items():
            shutil.copy(path, tmp_path / "videos" / f"{name}.mp4")
        extract(tmp_path / "videos", tmp_path / "store")
        return tmp_path / "store"

    return make


def test_the_test_videos_need_no_streams_but_are_refused_as_images(train, bench, make_store, tmp_path):
    store = make_store({video(number): bench.videos / f"video{number}.mp4" for number in (*TRAIN, *VAL)})
    captions = write(tmp_path / "images.csv", "video_id,caption", "video7010.mp4,a still of it")
    _, said = train("--protocol", "msrvtt-full", "--images", bench.store, captions, store=store, code=1)
    assert "1 of the images are validated or tested on, 'video7010'; leave them out" in said
    record, said = train("--protocol", "msrvtt-full", store=store)
    assert record["left_out"] == []
    assert "2 test videos are not in" in said


@pytest.fixture
def duplicated(bench, make_store):
    """The store with a test video that is the same file as a training video."""
    videos = {path.stem: path for path in bench.videos.iterdir()}
    return make_store(videos | {f"video{DUPLICATE}": bench.videos / "video0.mp4"})


def test_a_file_in_train_and_test_is_refused_by_content(train, bench, duplicated, tmp_path):
    rows = [f"video{n},{n} turns,{split}" for split, numbers in SPLITS.items() for n in numbers]
    captions = write(tmp_path / "captions.csv", "video_id,caption,split", *rows)
    _, said = train(store=duplicated, files=captions, partial=False, code=1)
    assert "same file as one of split 'test', 'video0.mp4' is 'video7011.mp4'" in said
    assert not (tmp_path / "model").exists()
    record, said = train(store=duplicated, files=captions)
    assert record["left_out"] == ["video0.mp4"]
    assert "video0.mp4" not in record["videos"]["train"]
    assert "left out 1 videos whose file is in another split too, 'video0.mp4'" in said


def test_a_model_that_learnt_a_file_under_another_name_is_refused(train, held, duplicated):
    record, _ = train("--protocol", "msrvtt-full")
    with pytest.raises(InputError, match=r"'video7011\.mp4' is 'video0\.mp4'"):
        held(record, store=duplicated)


def test_a_stopped_run_is_not_resumed_with_another_selection(train, monkeypatch):
    whole = trainer.save_state

    def save(*arguments):
        whole(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save_state", save)
        train("--protocol", "msrvtt-full", "--epochs", "3", code=130)
    _, said = train("--protocol", "msrvtt-full", "--epochs", "3", "--select-on-test", code=1)
    assert "unfinished run with other settings or data (captions)" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--protocol", "msrvtt-1k-a"], "did you mean 'msrvtt-1ka'?"),
        (["--train-list", "9k"], "--train-list 9k goes with --protocol NAME"),
        (["--protocol", "msrvtt-full", "--train-list", "9k"], "9k"),
        (["--protocol", "lsmdc"], "LSMDC16"),
        (["--protocol", "msrvtt-full"], "--partial"),
    ],
)
def test_what_cannot_be_trained_on_is_one_sentence(train, arguments, says, tmp_path):
    _, said = train(*arguments, partial=says != "--partial", code=1)
    assert said.startswith("error: ")
    assert len(said.strip().splitlines()) == 1
    assert says in said
    assert list(tmp_path.iterdir()) == []
