"""Files are written whole, or not at all."""

from contextlib import nullcontext

import pytest

from mee.errors import InputError
from mee.files import whole_file


def write(path, content, error=None):
    with whole_file(path, "ranks") as aside:
        aside.write_text(content, encoding="utf-8")
        if error:
            raise error


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_a_file_is_replaced_at_the_end_or_not_at_all(tmp_path, error):
    path = tmp_path / "ranks.csv"
    path.write_text("old")
    with path.open() as reader:
        with pytest.raises(error) if error else nullcontext():
            write(path, "new", error)
        assert reader.read() == "old"  # not written over: whoever reads meanwhile sees one or the other
    assert path.read_text() == ("old" if error else "new")
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
