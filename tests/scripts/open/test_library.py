"""mee library: what is kept of folders, and how it is freed."""

import fcntl
import shutil

import pytest

from scripts.open import LibraryState
from scripts.open.library import main


@pytest.fixture
def kept(folder, tmp_path, index):
    """Libraries of three folders; the second one's folder is gone, and the third one's is damaged."""
    states = []
    for name in ("my videos", "gone", "third"):
        state = LibraryState.of(tmp_path / name)
        with state.locked():
            state.write(folder=str(tmp_path / name), preset="auto", opened=1.6e9)
        states.append(state)
    shutil.copytree(index, states[0].index)
    (states[2].directory / "library.json").write_text("{")
    return states


def names(cache):
    return sorted(path.name for path in (cache / "libraries").iterdir())


def test_the_list_shows_all_and_what_is_open(kept, cache, tmp_path, prints, json_lines):
    (cache / "moments").mkdir()
    (cache / "moments" / f"{'0' * 64}.mp4").write_bytes(bytes(1000))
    with kept[1].locked():
        found = json_lines(main, "list")
        text = prints(main, "list").out
    assert [each["name"] for each in found[:3]] == sorted(state.directory.name for state in kept)
    by_folder = {each["folder"]: each for each in found}
    first, gone = by_folder[str(tmp_path / "my videos")], by_folder[str(tmp_path / "gone")]
    assert (first["moments"], first["open"], first["opened"]) == (2, False, 1.6e9)
    assert first["bytes"] > 1000
    assert (gone["moments"], gone["open"]) == (0, True)
    assert by_folder["?"]["name"].startswith("third-")
    assert by_folder[str(cache / "moments")]["bytes"] == 1000
    assert "3 libraries in " in text
    assert text.count("yes") == 1


def test_nothing_is_kept(prints, cache):
    assert "0 libraries in " in prints(main, "list").out
    assert prints(main, "forget", "--all").out == "0 bytes freed\n"
    assert not cache.exists()


def test_forget_by_folder_and_by_name(kept, cache, prints, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert prints(main, "forget", "my videos/", kept[2].directory.name).out.endswith("kB freed\n")
    assert names(cache) == [kept[1].directory.name]
    prints(main, "forget", tmp_path / "gone")
    assert names(cache) == []
    assert (tmp_path / "my videos" / "a.mp4").exists()


def test_forget_all_but_what_is_open_with_what_was_converted_and_left(kept, cache, prints, says):
    (cache / "moments").mkdir()
    for name in ("0.mp4", "1.jpg", ".bytes"):
        (cache / "moments" / name).touch()
    (cache / "libraries" / ".forgotten-x" / "store").mkdir(parents=True)
    outside = cache / "outside"
    outside.mkdir()
    (cache / "libraries" / "link").symlink_to(outside)
    with kept[1].locked():
        says(prints(main, "forget", "--all", code=1).err.replace(kept[1].directory.name, "NAME"))
    assert names(cache) == [kept[1].directory.name, "link"]
    assert [path.name for path in (cache / "moments").iterdir()] == [".bytes"]
    assert outside.exists()


def test_a_lock_of_a_library_that_is_forgotten_is_none(kept, monkeypatch):
    def flock(handle, how, before=fcntl.flock):
        shutil.rmtree(kept[0].directory)  # between the opening of the file and the lock
        before(handle, how)

    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", flock)
        with kept[0].locked() as handle:
            assert handle is None
    with kept[0].locked() as handle:
        assert handle is not None


def test_an_unknown_one(kept, fails, says):
    says(fails(main, "forget", "nowhere"))
