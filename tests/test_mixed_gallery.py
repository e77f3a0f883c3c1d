"""The benchmark of models without captions: its gallery is what it says, and its tables are right."""

import shutil

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from benchmarks.data.mixed_gallery import CLIPS, build, plan, queries
from benchmarks.words import edits, speech_row, text_row
from benchmarks.zero_shot import figures
from tests.features.media_files import write


@pytest.fixture
def data(tmp_path):
    """The folders of two data sets, whose files are empty."""
    for folder, suffix, count in (("msrvtt200/videos", ".mp4", 200), ("coco159/images", ".jpg", 159)):
        (tmp_path / folder).mkdir(parents=True)
        names = [f"{folder[:2]}{number}" for number in range(count)]
        for name in names:
            (tmp_path / folder / (name + suffix)).touch()
        captions = pd.DataFrame({"video_id": names, "caption": [f"what {name} shows" for name in names]})
        captions.to_csv(tmp_path / folder / "../captions.csv", index=False)
    return tmp_path


def test_parts_share_nothing_and_kinds_are_even(data):
    parts = {part: plan(data, part) for part in CLIPS}
    assert {part: len(clips) for part, clips in parts.items()} == CLIPS
    for field in ("name", "said", "said_query", "written", "written_query"):
        test, dev = ({getattr(clip, field) for clip in clips} - {""} for clips in parts.values())
        assert min(len(test), len(dev)) >= 60
        assert not test & dev
    clips = parts["test"]
    assert plan(data) == clips != plan(data, seed=1)
    kinds = pd.Series([(bool(clip.said), bool(clip.written)) for clip in clips]).value_counts()
    assert kinds.tolist() == [60] * 4
    table = queries(clips)
    assert set(table["kind"].value_counts()) == {120}
    assert set(table["video"]) <= {clip.name for clip in clips}


def test_without_the_programs_one_sentence_names_them(data, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="install ffmpeg and espeak-ng"):
        build(plan(data), tmp_path / "out")


@pytest.mark.skipif(not (shutil.which("espeak-ng") and shutil.which("ffmpeg")), reason="needs both programs")
def test_clips_have_sound_and_text_where_the_table_says(data, tmp_path):
    clips = plan(data)[:4]
    for clip in clips:
        if clip.source.suffix == ".jpg":
            cv2.imwrite(str(clip.source), np.full((60, 40, 3), 40, np.uint8))
        else:
            write(clip.source, [np.full((48, 64, 3), 40, np.uint8)] * 20)
    table = build(clips, tmp_path / "out").set_index("video")
    assert (table["said"] != "").tolist() == [True, True, False, False]
    for clip in clips:
        with av.open(str(tmp_path / "out/videos" / clip.name)) as file:
            assert len(file.streams.audio) == bool(clip.said)
            frames = [(frame.time, frame.to_ndarray(format="gray").max()) for frame in file.decode(video=0)]
        bright = [time for time, most in frames if most > 150]
        assert bool(bright) == bool(clip.written)
        if bright:
            assert (
                table.at[clip.name, "written_s"] <= bright[0] < bright[-1] <= table.at[clip.name, "written_end_s"]
            )
    assert set(pd.read_csv(tmp_path / "out/queries.csv")["video"]) == {clip.name for clip in clips}


def test_the_table_is_a_mean_and_a_paired_difference():
    ranks = {"mixture": np.array([1.0, 1, 3, 1, 1]), "one": np.array([1.0, 2, 11, 7, 1])}
    kinds, videos = ["seen", "said", "written", "said", "said, quoted"], ["a", "b", "c", "b", "d"]
    first, other = figures(ranks, kinds, videos)
    assert (first["R@5"], first["MedR"], first["seen"], first["said"]) == ("100.0 ± 0.0", 1, "100.0", "100.0")
    assert (first["written"], first["said, quoted"], "first" in first) == ("0.0", "100.0", False)
    # differences 0, 100, 0, 100 of clips a, b, c, b: mean 50, sums -50, 100, -50: sqrt(3 / 2 * 15000) / 4
    assert (other["R@1"].split()[0], other["R@10"].split()[0], other["first"]) == ("25.0", "75.0", "+50.0 ± 37.5")


@pytest.mark.parametrize(
    ("a", "b", "count"), [("", "abc", 3), ("kitten", "sitting", 3), ("ab", "ba", 2), ("same", "same", 0)]
)
def test_edits(a, b, count):
    assert edits(a, b) == edits(b, a) == count


def test_words_and_lines_are_compared_as_described():
    right = [(1.0, 3.0, "Thirty-one winters at sea."), (0.5, 4.0, "No entry")]
    found = [[(1.9, 2.5, "31 winters"), (2.5, 3.2, "at see")], ()]
    row = speech_row(found, right)
    assert (row["errors"], row["clips"], row["time"]) == ("50.0 % of words", "50.0 % of 2", "50.0 % of 2")
    row = text_row([[(0, 9, "logo"), (0.0, 4.5, "NOENTRY")], ()], [right[1], (0, 1, "Exit")])
    assert (row["same"], row["loosely"], row["time"]) == ("0.0 % of 2", "50.0 % of 2", "50.0 % of 2")
    assert row["errors"] == f"{100 * (7 + 4) / 12:.1f} % of characters"
