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
        ("video_id,caption\n", "no rows"),
        ("video_id,text\nclip0,a thing\n", "has no column 'caption'; it has 'video_id', 'text'"),
        ("name,caption\nclip0,a thing\n", "has no column 'video_id'"),
        ("video_id,caption\nnobody,a thing\n", "nobody (not in the store)"),
        ("video_id,caption\nclip0,\n", "row 1 of 1 has nothing in column 'caption'"),
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
    assert "zero (the file is empty (0 bytes))" in fails(
        train, own.store, own.captions, tmp_path / "new", *own.tiny
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.csv", None, "no caption file at"),
        ("captions.txt", b"x", "are read from .csv, .parquet or .jsonl, not '.txt'"),
        ("captions.parquet", b"no parquet", "is not a readable .parquet table"),
        ("captions.jsonl", b"{no json", "is not a readable .jsonl table"),
        ("captions.csv", "video_id,caption\nclip0,café\n".encode("latin-1"), "line 2 is not UTF-8"),
    ],
)
def test_caption_files_that_cannot_be_read(fails, own, name, content, says):
    path = own.place / f"x{name}"
    if content is not None:
        path.write_bytes(content)
    assert says in fails(train, own.store, path, own.place / "new", *own.tiny)
