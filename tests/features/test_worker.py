"""What a worker makes of one file."""

import numpy as np
import pytest

from features.errors import MediaError
from features.worker import FileTask, extract_file


@pytest.fixture
def extract(odd_extractors, media, tmp_path):
    def run(name, *streams, frames=10, clip_seconds=None, **settings):
        path = media.write(tmp_path / name, [media.plain(number) for number in range(frames)], **settings)
        return extract_file(FileTask(path, name, streams or ("odd",), "pyav", clip_seconds))

    return run


def test_a_file_is_a_clip_with_its_streams(extract, media):
    (record,) = extract("a.mp4", "odd", "audio", sounds=[(0.0, media.tone(1.0))])
    assert (record.clip_id, record.video, record.clips_of_video, record.verdict) == ("a.mp4", "a.mp4", 1, "ok")
    assert record.streams["odd"].shape == (2, 3)
    assert record.streams["odd"].dtype == np.float16
    assert record.streams["audio"] is not None
    assert record.file_bytes > 0


def test_a_long_file_is_cut(extract):
    records = extract("a.mp4", frames=30, clip_seconds=1.0)
    assert [record.clip_id for record in records] == ["a.mp4#t=0,1", "a.mp4#t=1,2", "a.mp4#t=2,3"]
    assert {record.clips_of_video for record in records} == {3}


def test_no_track_and_no_answer_are_missing(extract):
    (record,) = extract("none-.mp4", "odd", "audio")
    assert record.streams == {"odd": None, "audio": None}


@pytest.mark.parametrize("kind", ["nan", "wide", "huge"])
def test_numbers_that_break_the_promise_are_refused(extract, kind):
    with pytest.raises(MediaError, match=r"its odd extractor gave no \(T, 3\) finite numbers"):
        extract(f"{kind}-.mp4")
