"""Hashes of the frames of files: which moments, of what size in memory, and files that nobody can read."""

import hashlib

import cv2
import numpy as np
import pytest

from features.errors import MediaError
from features.hashing import WORDS, FileDigest, HashTask, hash_task, hash_video, hash_videos


def shot(seed, size=(96, 64)):
    rng = np.random.default_rng(seed)
    return (
        cv2.resize(rng.uniform(30, 255, (8, 8, 3)), size, interpolation=cv2.INTER_CUBIC)
        .clip(30, 255)
        .astype(np.uint8)
    )


@pytest.fixture
def folder(media, tmp_path):
    """Two seconds of two shots; a still image of the first; black throughout; sound only; damaged; empty."""
    media.write(tmp_path / "shots.mp4", [shot(0)] * 10 + [shot(1)] * 10)
    cv2.imwrite(str(tmp_path / "still.png"), cv2.cvtColor(shot(0), cv2.COLOR_RGB2BGR))
    media.write(tmp_path / "black.mp4", [np.zeros((64, 96, 3), np.uint8)] * 10)
    media.write(tmp_path / "sound.mp4", sounds=[(0.0, media.tone(1.0))])
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "shots.mp4").read_bytes()[:900])
    (tmp_path / "empty.mp4").touch()
    return tmp_path


def test_frames_are_taken_by_time(folder):
    hashed = hash_video(folder / "shots.mp4", "shots.mp4", 2.0)
    assert hashed.times.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert hashed.hashes.shape == (4, WORDS)
    first, second = hashed.hashes[0], hashed.hashes[2]
    apart = [np.bitwise_count(row ^ first).sum() for row in hashed.hashes]
    assert apart[1] <= 16
    assert min(apart[2:]) > 36
    assert np.bitwise_count(hashed.hashes[3] ^ second).sum() <= 16


def test_a_still_image_is_one_frame_like_that_of_the_video(folder):
    still, video = (hash_video(folder / name, name, 2.0) for name in ("still.png", "shots.mp4"))
    assert still.times.tolist() == [0.0]
    assert np.bitwise_count(still.hashes[0] ^ video.hashes[0]).sum() <= 8


def test_what_shows_nothing_has_no_frames(folder):
    hashed = hash_video(folder / "black.mp4", "black.mp4", 2.0)
    assert hashed.failure == ""
    assert len(hashed.times) == len(hashed.hashes) == 0


def test_long_videos_are_hashed_piece_by_piece(media, tmp_path, monkeypatch):
    media.write(tmp_path / "long.mp4", [shot(number // 10) for number in range(40)])
    whole = hash_video(tmp_path / "long.mp4", "long.mp4", 2.0)
    monkeypatch.setattr("features.hashing.PIECE_S", 1.0)
    pieces = hash_video(tmp_path / "long.mp4", "long.mp4", 2.0)
    np.testing.assert_array_equal(whole.hashes, pieces.hashes)
    np.testing.assert_array_equal(whole.times, pieces.times)


def test_sound_alone_is_no_video(folder):
    with pytest.raises(MediaError, match=r"^it has no pictures that can be decoded$"):
        hash_video(folder / "sound.mp4", "sound.mp4", 2.0)


def test_the_digest_comes_first_even_of_what_cannot_be_decoded(folder):
    digest, failure = hash_task(HashTask(folder, "cut.mp4", 2.0))
    assert digest == FileDigest(hashlib.sha256((folder / "cut.mp4").read_bytes()).hexdigest())
    assert failure.failure == "cut short or damaged: the index (moov) is missing"


def test_a_file_that_is_gone_is_told_of(folder):
    (failure,) = hash_task(HashTask(folder, "gone.mp4", 2.0))
    assert failure.failure == "it cannot be read: No such file or directory"


def test_what_a_decoder_raises_is_told_of(folder, monkeypatch):
    def hurt(*_):
        raise RuntimeError("this decoder\nis broken")

    monkeypatch.setattr("features.hashing.hash_video", hurt)
    _, failure = hash_task(HashTask(folder, "shots.mp4", 2.0))
    assert failure.failure == "RuntimeError: this decoder is broken"


def test_memory_that_is_used_up_is_no_failure_of_the_file(folder, monkeypatch):
    def hurt(*_):
        raise MemoryError

    monkeypatch.setattr("features.hashing.hash_video", hurt)
    messages = hash_task(HashTask(folder, "shots.mp4", 2.0))
    next(messages)
    with pytest.raises(MemoryError):
        next(messages)


def test_worker_processes_do_all_files_and_bad_ones_end_nothing(folder):
    names = sorted(path.name for path in folder.iterdir())
    hashed = {each.video: each for each in hash_videos(folder, names, 2.0, 2)}
    assert sorted(hashed) == names
    for name, each in hashed.items():
        assert each.sha256 == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert {name for name, each in hashed.items() if each.failure} == {"cut.mp4", "empty.mp4", "sound.mp4"}
    assert hashed["empty.mp4"].failure == "the file is empty (0 bytes)"
    assert len(hashed["shots.mp4"].times) == 4
    direct = hash_video(folder / "shots.mp4", "shots.mp4", 2.0)
    np.testing.assert_array_equal(hashed["shots.mp4"].hashes, direct.hashes)


def test_a_worker_that_crashes_loses_its_file_only(folder, monkeypatch):
    from features.job.pool import Lost, Told

    class Pool:
        """Tells of one file, and loses three in the three ways."""

        def __init__(self, *_):
            self.tasks = []

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def submit(self, task):
            self.tasks.append(task)

        def events(self):
            for task, how in zip(self.tasks, ("crashed", "timed out", "out of memory")):
                yield Told(task, FileDigest("ab" * 32))
                yield Lost(task, how)
            yield Told(self.tasks[3], FileDigest("cd" * 32))
            yield Told(self.tasks[3], hash_video(folder / "black.mp4", "black.mp4", 2.0))

    monkeypatch.setattr("features.hashing.WorkerPool", Pool)
    crashed, late, large, well = hash_videos(folder, ["a", "b", "c", "black.mp4"], 2.0, 1)
    assert crashed.failure == "the decoder crashed"
    assert late.failure == "not done after 1800 s"
    assert large.failure == "it needs more than 3 GB of memory"
    assert crashed.sha256 == "ab" * 32
    assert (well.failure, well.sha256) == ("", "cd" * 32)
