"""Frames: the right moment of the right file, and a labelled blank for whatever cannot be read."""

import base64
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from features.errors import InputError
from features.job import run_isolated
from mee.evaluation.result import Answer
from scripts.report.frames import SHORT_SIDE, Moment, read_frames


@pytest.fixture(scope="module")
def folder(media, tmp_path_factory):
    """Videos whose frame n, on display at n / 10 s, has a grey level of its own."""
    root = tmp_path_factory.mktemp("videos")
    (root / "sub").mkdir()
    media.write(root / "long.mp4", [media.plain(number) for number in range(18)])
    media.write(root / "sub" / "video7.mp4", [media.plain(number) for number in range(4)])
    media.write(root / "sound.mp4", sounds=[(0.0, media.tone(0.5))])
    cv2.imwrite(str(root / "image.png"), media.quadrants()[..., ::-1])
    (root / "broken.mp4").write_bytes(b"no video at all" * 50)
    return root


def moment(clip_id, share=0.5, video=None, start=None, end=None):
    return Moment.of(Answer(clip_id=clip_id, video=video, start_s=start, end_s=end, score=0.0), share)


def pixels(shot):
    data = shot.uri.removeprefix("data:image/webp;base64,")
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1), cv2.COLOR_BGR2RGB)


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        (moment("long.mp4", 0.0), 0),
        (moment("long.mp4", 0.5), 9),
        (moment("long.mp4", 1.0), 17),
        (moment("x", 0.5, "long.mp4", 1.0, 1.3), 11),
        (moment("long.mp4#t=0.4,0.8", 0.0), 4),
        (moment("long.mp4#t=0.4,0.8", 0.5), 6),
        (moment("long.mp4", 0.5, None, 1.0, 99.0), 14),  # the clip ends with its file
        (moment("long.mp4", 0.5, None, -5.0, 0.2), 1),
    ],
)
def test_the_frame_at_the_moment(folder, media, wanted, number):
    shot = read_frames(folder, [wanted])[wanted]
    assert media.number_of(pixels(shot)[None]) == [number]
    assert abs(shot.at_s - number / 10) < 0.1
    assert min(pixels(shot).shape[:2]) == SHORT_SIDE


def test_many_moments_of_a_file_in_any_order_are_read_at_once(folder, media, capsys):
    wanted = [moment("long.mp4", share) for share in (0.9, 0.1, 0.5, 0.1)]
    shots = read_frames(folder, wanted)
    assert [media.number_of(pixels(shots[one])[None])[0] for one in wanted] == [16, 1, 9, 1]
    assert capsys.readouterr().err == "frames: 0 of 1 files\n"


def shot_of(folder, clip_id):
    wanted = moment(clip_id)
    return read_frames(folder, [wanted])[wanted]


def test_a_still_image_and_the_names_in_results(folder):
    shot = shot_of(folder, "image.png")
    assert shot.at_s is None
    assert pixels(shot)[5, 5].argmax() == 0  # red, top left
    for clip_id in ("video7", "sub/video7", "sub/video7.mp4", "video7.mp4", "video7#t=0,0.2"):
        assert shot_of(folder, clip_id).uri


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (moment("gone.mp4"), "not in the folder of videos"),
        (moment("x", video="../long.mp4/../../etc/passwd"), "not in the folder of videos"),
        (moment("x", video="/etc/hostname"), "not in the folder of videos"),
        (moment("broken.mp4"), "file cannot be read"),
        (moment("sound.mp4"), "no picture track"),
        (moment("long.mp4", 0.5, None, 60.0, 70.0), "no picture at 60.0 s"),
        (moment("long.mp4#t=1.2.3,9"), "not in the folder of videos"),  # no times at all
    ],
)
def test_a_clip_that_cannot_be_read_is_a_blank_with_a_reason(folder, wanted, reason):
    good = moment("long.mp4", 0.25)
    shots = read_frames(folder, [wanted, good])
    assert (shots[wanted].reason, shots[wanted].uri) == (reason, None)
    assert shots[good].uri  # one broken file costs its own pictures only


def test_a_crash_a_hang_and_a_bomb_cost_the_frames_of_their_file(folder, media, monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "features")
    import pool_work

    for name in ("a", "bomb", "crash", "hang", "z"):
        media.write(tmp_path / f"{name}.mp4", [media.plain(number) for number in range(4)])
    wanted = {name: moment(f"{name}.mp4") for name in ("a", "bomb", "crash", "hang", "z")}
    whole = read_frames(tmp_path, [wanted["a"]])
    monkeypatch.setattr("scripts.report.frames.read_shots", pool_work.shots)
    monkeypatch.setattr(run_isolated, "__kwdefaults__", {**run_isolated.__kwdefaults__, "timeout": 2.0})
    capsys.readouterr()
    shots = read_frames(tmp_path, wanted.values())
    assert [name for name, each in wanted.items() if shots[each].uri] == ["a", "z"]
    assert shots[wanted["a"]] == whole[wanted["a"]]
    assert {shots[wanted[name]].reason for name in ("bomb", "crash", "hang")} == {"file cannot be read"}
    _, *said = capsys.readouterr().err.splitlines()
    assert sorted(said) == [
        f"no frame of '{tmp_path / 'bomb.mp4'}': it needs more than 3 GB of memory",
        f"no frame of '{tmp_path / 'crash.mp4'}': the decoder crashed",
        f"no frame of '{tmp_path / 'hang.mp4'}': not done after 2 s",
    ]


def test_nothing_is_decoded_in_this_process(folder, monkeypatch):
    for name in ("av.open", "cv2.imdecode", "features.media.probe.probe_file"):
        monkeypatch.setattr(name, Mock(side_effect=AssertionError(name)))
    assert shot_of(folder, "long.mp4").uri
    assert shot_of(folder, "image.png").uri
    monkeypatch.setattr("features.job.pool._Worker", None)  # none is started for nothing
    assert shot_of(folder, "gone.mp4").reason == "not in the folder of videos"


def test_no_folder_and_two_files_of_one_name(media, tmp_path):
    with pytest.raises(InputError, match="there is nothing at"):
        read_frames(tmp_path / "gone", [])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        media.write(tmp_path / name / "same.mp4", [media.plain(1)])
    assert shot_of(tmp_path, "same").reason == "not in the folder of videos"
