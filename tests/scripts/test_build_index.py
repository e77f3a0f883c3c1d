"""`mee index`: running it again adds only what is new."""

import shutil

import pytest

from index.video_index import VideoIndex
from scripts.build_index import main as build_index
from scripts.precompute import main as precompute


def files(directory):
    return {path.name for path in directory.iterdir()}


def test_what_it_holds_is_printed(world, tmp_path, capsys):
    assert build_index([str(world.store), str(world.model), str(tmp_path / "new")]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].rstrip() == "10 clips in the index, 10 of them new"
    assert "appearance, motion, audio" in out
    assert err == ""
    assert set(VideoIndex.load(tmp_path / "new").clips["clip_id"]) == {f"clip{n}.mp4" for n in range(9)} | {
        "clip9.png"
    }


def test_again_adds_nothing(world, own, capsys):
    before = VideoIndex.load(own.index).clips
    assert build_index([str(world.store), str(world.model), str(own.index)]) == 0
    assert "10 clips in the index, 0 of them new" in capsys.readouterr().out
    assert VideoIndex.load(own.index).clips.equals(before)


def test_again_after_new_videos_adds_only_them(world, own, tmp_path, capsys):
    videos = tmp_path / "videos"
    shutil.copytree(world.videos, videos)
    arguments = [str(own.store), str(own.model), str(tmp_path / "grown")]
    assert build_index(arguments) == 0
    shutil.copy(videos / "clip9.png", videos / "new.png")
    (videos / "broken.mp4").touch()
    assert precompute([str(videos), str(own.store), "--workers", "1"]) == 3
    capsys.readouterr()
    assert build_index(arguments) == 0
    out, err = capsys.readouterr()
    assert "11 clips in the index, 1 of them new" in out
    assert "1 videos are not in it because extraction failed, 'broken.mp4' among them" in err


def test_overwrite_makes_it_anew(own, capsys):
    arguments = [str(own.store), str(own.model), str(own.index), "--overwrite"]
    for _ in range(2):
        assert build_index(arguments) == 0
        assert "10 clips in the index, 10 of them new" in capsys.readouterr().out
        assert len(VideoIndex.load(own.index)) == 10
    assert len([name for name in files(own.index) if name.startswith("clips-")]) == 1


def test_an_index_of_another_store_is_refused(own, fails):
    before = files(own.index)
    error = fails(build_index, own.store, own.model, own.index)  # it was made from the session's store
    assert "was made with another model or store" in error
    assert "--overwrite" in error
    assert files(own.index) == before


@pytest.mark.parametrize("stray", ["notes.txt", "config.json"])
def test_what_is_no_index_is_refused_and_left_alone(own, fails, tmp_path, stray):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / stray).write_text("dear to me")
    for overwrite in ([], ["--overwrite"]):
        assert "is not an index; name another place" in fails(build_index, own.store, own.model, mine, *overwrite)
    assert files(mine) == {stray}


def test_a_first_save_that_was_killed_does_not_spoil_the_folder(own, tmp_path):
    half = tmp_path / "half"
    half.mkdir()
    (half / "clips-000001.parquet").write_text("half")
    (half / ".index.json").write_text("{")
    assert build_index([str(own.store), str(own.model), str(half)]) == 0
    assert len(VideoIndex.load(half)) == 10
    assert ".index.json" not in files(half)
    assert len([name for name in files(half) if name.startswith("clips-")]) == 1
