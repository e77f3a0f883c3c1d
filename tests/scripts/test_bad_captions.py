"""Caption files that cannot be used: one clear sentence, and nothing left behind."""

import shutil

import pytest

from scripts.precompute import main as precompute
from scripts.train import main as train


@pytest.mark.parametrize("command", ["train", "evaluate"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "has no column 'video_id'; it has nothing"),
        ("video_id,caption\nnobody,a thing\n", "nobody (not in the store)"),
        ("video_id,caption,split\nclip0,a thing,dev2\n", "split must be one of train, val, test, got 'dev2'"),
        ('video_id,caption\nclip0,"a\n', "line 2"),
    ],
)
def test_captions_that_cannot_be_used(fails, own, readers, command, content, says):
    own.captions.write_text(content)
    assert says in fails(*readers[command])
    assert not (own.place / "new").exists()
    assert not (own.place / "new.training").exists()


def test_a_caption_of_a_video_that_failed(fails, own, tmp_path, world, capsys):
    videos = tmp_path / "videos"
    shutil.copytree(world.videos, videos)
    (videos / "zero.mp4").touch()
    assert precompute([str(videos), str(own.store), "--workers", "1"]) == 3
    own.captions.write_text(own.captions.read_text() + "zero,a caption,train\n")
    said = fails(train, own.store, own.captions, tmp_path / "new", *own.tiny)
    assert "zero (the file is empty (0 bytes))" in said
