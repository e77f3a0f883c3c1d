"""Which files of a folder are media."""

import os
from pathlib import Path

import pytest

from features.errors import InputError
from features.media.library import find_media, is_media


def put(folder, *names):
    for path in (folder / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_subfolders_are_searched_and_hidden_linked_and_unreadable_names_are_not(tmp_path):
    put(tmp_path, "b.MP4", "a/c.WEBM", "a/d/e f#1.jpg", "f.3gp")
    put(tmp_path, ".hidden.mp4", ".git/g.mp4", "notes.txt", "LICENSE", "x.txt")
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    expected = {".txt": 2, "no ending": 1, "linked folder": 1}
    try:
        open(os.fsencode(tmp_path) + b"/\xff.mp4", "wb").close()
        expected["name that is not Unicode"] = 1
    except OSError:  # this file system refuses such names
        pass
    library = find_media(tmp_path)
    assert library.videos == ("a/c.WEBM", "a/d/e f#1.jpg", "b.MP4", "f.3gp")
    assert library.ignored == expected


def test_a_single_file_and_relative_paths(tmp_path, monkeypatch):
    put(tmp_path, "a.mp4")
    monkeypatch.chdir(tmp_path)
    for path, root in ((tmp_path / "a.mp4", tmp_path), (Path("."), Path(".")), (Path("a.mp4"), Path("."))):
        library = find_media(path)
        assert (library.root, library.videos) == (root, ("a.mp4",))
    names = ("a.MP4", "a.webm", "a.JPG", "a.3gp", "a.txt")
    assert [is_media(tmp_path / name) for name in names] == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("names", "path", "message"),
    [
        ([], "nowhere", "there is nothing at"),
        ([], "", "it is empty"),
        (["a.txt", "b.txt", "c.doc"], "", r"only 2 x \.txt, 1 x \.doc"),
        (["a.txt"], "a.txt", "neither a video nor a still image"),
    ],
)
def test_nothing_to_read_is_an_error_that_says_what_is_there(tmp_path, names, path, message):
    put(tmp_path, *names)
    with pytest.raises(InputError, match=message):
        find_media(tmp_path / path)
