"""Which files of a folder are media."""

import os
from pathlib import Path

import pytest

from features.errors import InputError
from features.media.library import find_media


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_subfolders_are_looked_through_and_hidden_ones_are_not(tmp_path):
    put(
        tmp_path,
        "b.mp4",
        "a/c.WEBM",
        "a/d/e f#1.jpg",
        ".hidden.mp4",
        ".git/g.mp4",
        "notes.txt",
        "LICENSE",
        "x.txt",
    )
    library = find_media(tmp_path)
    assert library.videos == ("a/c.WEBM", "a/d/e f#1.jpg", "b.mp4")
    assert library.ignored == {".txt": 2, "no ending": 1}


def test_a_single_file_and_relative_paths(tmp_path, monkeypatch):
    put(tmp_path, "a.mp4")
    monkeypatch.chdir(tmp_path)
    for path, root in ((tmp_path / "a.mp4", tmp_path), (Path("."), Path(".")), (Path("a.mp4"), Path("."))):
        library = find_media(path)
        assert (library.root, library.videos) == (root, ("a.mp4",))


@pytest.mark.parametrize(
    ("names", "ask", "message"),
    [
        ([], "nowhere", "there is nothing at"),
        ([], "", "it is empty"),
        (["a.txt", "b.txt", "c.doc"], "", r"only 2 x \.txt, 1 x \.doc"),
        (["a.txt"], "a.txt", "neither a video nor a still image"),
    ],
)
def test_nothing_to_read_is_an_error_that_says_what_is_there(tmp_path, names, ask, message):
    put(tmp_path, *names)
    with pytest.raises(InputError, match=message):
        find_media(tmp_path / ask)


def test_a_name_that_is_not_unicode_is_left_out(tmp_path):
    put(tmp_path, "a.mp4")
    try:
        open(os.fsencode(tmp_path) + b"/\xff.mp4", "wb").close()
    except OSError:
        pytest.skip("this file system refuses such names")
    library = find_media(tmp_path)
    assert library.videos == ("a.mp4",)
    assert sum(library.ignored.values()) == 1


def test_folders_that_are_not_entered_are_counted(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "a.mp4").touch()
    (tmp_path / "inside" / "circle").symlink_to(tmp_path)
    library = find_media(tmp_path)
    assert library.videos == ("inside/a.mp4",)
    assert dict(library.ignored) == {"linked folder": 1}
