"""`mee index` of odd stores: nothing in them, clips without streams, streams that come later."""

import json
import shutil

import numpy as np
import pytest

from index.storage.snapshot import read_snapshot
from scripts.build_index import main as build_index
from scripts.gallery import main as gallery
from scripts.import_features import main as import_features
from scripts.precompute import main as precompute
from scripts.train import main as train


@pytest.fixture
def odd(tmp_path, world):
    """A store of imported clips, of which `c7` to `c9` have no sound, and a model that only hears."""
    generator = np.random.default_rng(0)
    names = [f"c{number}" for number in range(10)]
    looks = {name: generator.normal(size=(2, 4)).astype(np.float32) for name in names}
    np.savez(tmp_path / "looks.npz", **looks)
    np.savez(tmp_path / "sounds.npz", **{name: looks[name][:, :3] for name in names[:7]})
    captions = tmp_path / "captions.csv"
    splits = ["train"] * 5 + ["val"] * 2 + ["test"] * 3
    rows = [f"{name},number {number} moves,{split}" for number, (name, split) in enumerate(zip(names, splits))]
    captions.write_text("\n".join(["video_id,caption,split", *rows]) + "\n")
    store, model = str(tmp_path / "store"), str(tmp_path / "model")
    files = [f"appearance={tmp_path / 'looks.npz'}", f"audio={tmp_path / 'sounds.npz'}"]
    assert import_features([store, *files, "--name", "appearance=mine", "audio=mine"]) == 0
    assert train([store, str(captions), model, *world.tiny, "--streams", "audio"]) == 0
    return tmp_path, [store, model, str(tmp_path / "index")]


@pytest.fixture
def listed(odd, prints):
    def run(*more):
        return [json.loads(line) for line in prints(gallery, "list", odd[1][2], *more, "--json").out.splitlines()]

    return run


def test_clips_without_a_stream_are_listed_never_found_and_need_no_constant(odd, listed, prints):
    place, arguments = odd
    out, err = prints(build_index, *arguments)
    assert out.startswith("7 clips in the index, 7 of them new")
    assert err == "3 clips have no stream at all and cannot be found, 'c7' among them\n"
    assert [row["clip_id"] for row in listed("--without-stream")] == ["c7", "c8", "c9"]
    assert [row["streams"] for row in listed("--clips")] == [["audio"]] * 7 + [[]] * 3
    assert "0 of them new" in prints(build_index, *arguments).out
    (place / "bank.txt").write_text("number 3 moves\n")
    prints(gallery, "normalise", place / "index", "--bank", place / "bank.txt")
    assert [row["constant"] is None for row in listed("--clips")] == [False] * 7 + [True] * 3
    prints(build_index, *arguments)


def test_a_stream_that_comes_later(odd, listed, prints):
    place, arguments = odd
    prints(build_index, *arguments)
    np.savez(place / "sounds.npz", **{f"c{number}": np.ones((1, 3), np.float32) for number in range(10)})
    prints(import_features, arguments[0], f"audio={place / 'sounds.npz'}", "--name", "mine", "--overwrite")
    out, err = prints(build_index, *arguments)
    assert out.startswith("10 clips in the index, 0 of them new, 10 embedded again")
    assert err == ""
    assert listed("--without-stream") == []


def test_a_stream_that_the_model_does_not_read_and_a_place_that_it_moves_to_change_nothing(odd, prints):
    place, arguments = odd
    prints(build_index, *arguments)
    prints(import_features, arguments[0], f"appearance={place / 'looks.npz'}", "--name", "mine", "--overwrite")
    np.savez(place / "more.npz", **{f"c{number}": np.ones((1, 2), np.float32) for number in range(10)})
    prints(import_features, arguments[0], f"motion={place / 'more.npz'}", "--name", "mine")
    generation = read_snapshot(place / "index").generation
    assert "0 of them new\n" in prints(build_index, *arguments).out.replace(" \n", "\n")
    assert read_snapshot(place / "index").generation == generation
    shutil.move(place / "model", place / "moved")
    assert "0 of them new" in prints(build_index, arguments[0], place / "moved", arguments[2]).out


def test_a_store_without_usable_clips(world, tmp_path, prints):
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "broken.mp4").touch()
    assert precompute([str(videos), str(tmp_path / "store"), "--workers", "1"]) == 3
    arguments = [tmp_path / "store", world.model, tmp_path / "index"]
    for _ in range(2):
        out, err = prints(build_index, *arguments)
        assert out.startswith("0 clips in the index, 0 of them new")
        assert "1 videos are not in it because extraction failed, 'broken.mp4' among them" in err
    shutil.copy(world.videos / "clip0.mp4", videos)
    assert precompute([str(videos), str(tmp_path / "store"), "--workers", "1"]) == 3
    assert "1 clips in the index, 1 of them new" in prints(build_index, *arguments, "--recall", "0.5").out
