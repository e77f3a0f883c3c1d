"""Where files are looked for."""

import pytest

from mee.errors import InputError
from mee.protocols.files import AnnotationFiles
from mee.protocols.table import PROTOCOLS


@pytest.fixture
def files(tmp_path):
    return AnnotationFiles(tmp_path, PROTOCOLS["vatex"], ("own",))


def write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_the_directory_itself_comes_first_and_then_the_likeliest_name(files):
    far, near, second = (write(files.path / name) for name in ("own/a.json", "annotations/b.json", "b.json"))
    assert files.find("a.json", "b.json") == second
    second.unlink()
    assert files.find("a.json", "b.json") == near
    near.unlink()
    assert files.find("a.json", "b.json") == far
    far.unlink()
    assert files.find("a.json", "b.json") is None


def test_a_folder_is_no_file(files):
    (files.path / "a.json").mkdir()
    assert files.find("a.json") is None


def test_two_that_fit_one_name(files):
    write(files.path / "c.1.json"), write(files.path / "c.2.json")
    with pytest.raises(
        InputError, match=r"has both c.1.json and c.2.json, and vatex wants one of them; keep one th"
    ):
        files.find("c.*.json")


def test_one_file_stands_for_what_suffices_alone(tmp_path):
    files = AnnotationFiles(write(tmp_path / "mine.json"), PROTOCOLS["vatex"])
    assert files.find("a.json", alone=True) == tmp_path / "mine.json"
    assert files.find("a.json") is None
    assert files.find("a.csv", alone=True) is None
    with pytest.raises(
        InputError, match=r"mine.json' alone is not enough for vatex; name a directory with test_list"
    ):
        files.need("a.csv", alone=True)
