"""Files are there whole, or not at all."""

import pytest

from mee.errors import InputError
from mee.files import whole_file


def test_what_is_written_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "ranks.csv"
    path.write_text("old")
    with path.open() as reader:
        with whole_file(path, "ranks") as aside:
            aside.write_text("new")
            assert path.read_text() == "old"
            assert aside.parent == tmp_path
        assert reader.read() == "old"  # not written over: whoever reads meanwhile sees one or the other
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def write(path, content, error=None):
    with whole_file(path, "ranks") as aside:
        aside.write_text(content, encoding="utf-8")
        if error:
            raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path, error):
    path = tmp_path / "ranks.csv"
    path.write_text("old")
    with pytest.raises(error):
        write(path, "half", error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_one_sentence(tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    file.touch()
    for path, content, reason in (
        (tmp_path / "no" / "ranks.csv", "new", "No such file or directory"),
        (folder, "new", "Is a directory"),
        (file / "ranks.csv", "new", "Not a directory"),
        (tmp_path / "ranks.csv", "clip\udcff", "a name is no text that UTF-8 knows"),
    ):
        with pytest.raises(InputError) as caught:
            write(path, content)
        assert str(caught.value) == f"ranks cannot be written to '{path}': {reason}"
    with pytest.raises(InputError, match=r"ranks cannot be written to .*: the disk is gone"):
        write(tmp_path / "ranks.csv", "half", OSError("the disk is gone"))
    assert sorted(tmp_path.iterdir()) == [file, folder]
