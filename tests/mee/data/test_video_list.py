"""Lists of videos, in every form; what cannot be used is one sentence."""

import pandas as pd
import pytest

from mee.data.captions import read_videos
from mee.errors import InputError


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", "video_id\nv1\nv2\n"),
        ("list.csv", '\ufeffkey,video_id\r\n0,v1\r\n1, v2 \r\n\r\n2,"v1"\r\n'),
        ("list.csv", "video\nv1\nv2\n"),
        ("list.txt", "v1\n\nv2"),
        ("list", " v1 \nv2\nv1\n"),
        ("list.txt", "\ufeffvideo_id\nv1\nv2\n"),
        ("list.txt", "video_id,caption\nv1,a dog\nv2,rain\n"),
    ],
)
def test_text(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_videos(tmp_path / name) == ("v1", "v2")


@pytest.mark.parametrize("column", ["video_id", "video"])
def test_parquet(tmp_path, column):
    pd.DataFrame({column: [" b", "a", "b", "naïve clip.mp4"]}).to_parquet(tmp_path / "list.parquet")
    assert read_videos(tmp_path / "list.parquet") == ("b", "a", "naïve clip.mp4")


def test_a_name_with_a_comma_goes_into_a_table(tmp_path):
    (tmp_path / "list.csv").write_text('video_id\n"a, b.mp4"\n')
    assert read_videos(tmp_path / "list.csv") == ("a, b.mp4",)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("list.csv", b"id\nv1\n", "has no column 'video_id'; it has 'id'. Name it there"),
        ("list.csv", b"", "has no column 'video_id'; it has nothing"),
        ("list.txt", b"v1,v2\n", "has no column 'video_id'; it has 'v1', 'v2'"),
        ("list.csv", b"key,video_id\n0,v1\n1\n", "row 2 has nothing in column 'video_id'"),
        ("list.csv", b"key,video_id\n0, \n", "row 1 has nothing in column 'video_id'"),
        ("list.csv", b"video_id\n", "names no videos; write one a line"),
        ("list.txt", b" \n\n", "names no videos"),
        ("list.txt", b"\xff\xfe\x00", "is not a readable list of videos: 'utf-8' codec"),
        ("list.txt", b'"' + b"x" * 200_000, "is not a readable list of videos: field larger"),
        ("list.parquet", b"PAR1", "is not a readable list of videos: "),
        ("list.txt", None, "no list of videos at"),
        ("folder", "folder", "no list of videos at"),
    ],
)
def test_what_cannot_be_used(tmp_path, name, content, says):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_videos(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
