"""Hashes of videos: pictures, black bars, files, and workers that fail."""

import hashlib
import os

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import hashing
from features.hashing import BITS, SIDE, WORDS, HashTask, hash_video, picture_hashes, without_bars
from features.job.isolated import Failed, _Setup


def shot(seed, size=(96, 64)):
    coarse = np.random.default_rng(seed).uniform(30, 255, (8, 8, 3))
    return cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC).clip(30, 255).astype(np.uint8)


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


def test_frames_are_taken_by_time_piece_by_piece_and_a_still_image_is_one_frame(folder, monkeypatch):
    still, video = (hash_video(folder / name, name, 2.0) for name in ("still.png", "shots.mp4"))
    assert (still.times.tolist(), video.times.tolist()) == ([0.0], [0.0, 0.5, 1.0, 1.5])
    assert video.hashes.shape == (4, WORDS)
    differ = [np.bitwise_count(row ^ video.hashes[0]).sum() for row in video.hashes]
    assert differ[1] <= 16
    assert min(differ[2:]) > 36
    assert np.bitwise_count(video.hashes[3] ^ video.hashes[2]).sum() <= 16
    assert np.bitwise_count(still.hashes[0] ^ video.hashes[0]).sum() <= 8
    for seconds in (0.5, 1.0):  # pieces of one frame and of two
        monkeypatch.setattr("features.hashing.PIECE_S", seconds)
        pieces = hash_video(folder / "shots.mp4", "shots.mp4", 2.0)
        np.testing.assert_array_equal(video.hashes, pieces.hashes)
        np.testing.assert_array_equal(video.times, pieces.times)


def test_errors_of_files_are_failures_and_the_digest_of_a_lost_file_is_kept(folder, monkeypatch):
    work = _Setup(hashing.hash_task, 3.0)._messages
    os.mkfifo(folder / "pipe.mp4")
    gone = Failed("it cannot be read: No such file or directory")
    assert list(work(HashTask(folder, "gone.mp4", 2.0))) == [gone]
    assert "is a pipe and not a regular file" in next(work(HashTask(folder, "pipe.mp4", 2.0))).reason

    def run(work, tasks, *, workers, timeout):
        assert (work, workers, timeout) == (hashing.hash_task, 1, hashing.TIMEOUT_S)
        lost, whole = tasks
        yield lost, "ab" * 32
        yield lost, Failed("the decoder crashed")
        yield whole, "cd" * 32
        yield whole, hash_video(folder / "black.mp4", "black.mp4", 2.0)

    monkeypatch.setattr(hashing, "run_isolated", run)
    hashed = hashing.hash_videos(folder, ["a", "black.mp4"], 2.0, 1)
    found = [(each.video, each.failure, each.sha256) for each in hashed]
    assert found == [("a", "the decoder crashed", "ab" * 32), ("black.mp4", "", "cd" * 32)]


def test_worker_processes_do_all_files_and_bad_ones_end_nothing(folder):
    names = sorted(path.name for path in folder.iterdir())
    hashed = {each.video: each for each in hashing.hash_videos(folder, names, 2.0, 2)}
    assert sorted(hashed) == names
    for name, each in hashed.items():
        assert each.sha256 == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert {name: each.failure for name, each in hashed.items() if each.failure} == {
        "empty.mp4": "the file is empty (0 bytes)",
        "sound.mp4": "it has no pictures that can be decoded",
        "cut.mp4": "cut short or damaged: the index (moov) is missing",
    }
    assert len(hashed["black.mp4"].times) == len(hashed["black.mp4"].hashes) == 0  # it shows nothing
    assert len(hashed["shots.mp4"].times) == 4
    direct = hash_video(folder / "shots.mp4", "shots.mp4", 2.0)
    np.testing.assert_array_equal(hashed["shots.mp4"].hashes, direct.hashes)


def picture(seed, height=128, width=192, cells=12):
    """(H, W, 3): smooth blotches, with the spectrum of a photograph more or less."""
    rng = np.random.default_rng(seed)
    coarse, fine = rng.uniform(0, 255, (cells, cells, 3)), rng.uniform(-20, 20, (4 * cells, 4 * cells, 3))
    scaled = [cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC) for part in (coarse, fine)]
    return np.clip(sum(scaled), 30, 255).astype(np.uint8)


def bits(frames):
    """(T, BITS) of bool."""
    hashes, telling = picture_hashes(frames)
    assert (hashes.shape, hashes.dtype, telling.all()) == ((len(frames), WORDS), np.uint64, True)
    return np.unpackbits(hashes.view(np.uint8), axis=1).astype(bool)


def apart(one, other):
    return int((bits(one[None]) != bits(other[None])).sum())


def test_it_is_the_signs_of_the_lowest_frequencies_half_of_which_differ():
    # Written out as the sums that a DCT-II is, on a picture that need not be shrunk.
    grey = np.random.default_rng(3).integers(40, 255, (SIDE, SIDE)).astype(np.uint8)
    waves = np.array([[np.cos(np.pi * (2 * x + 1) * u / (2 * SIDE)) for x in range(SIDE)] for u in range(SIDE)])
    coefficients = waves @ grey.astype(float) @ waves.T
    frequencies = sorted((u * u + v * v, u, v) for u in range(SIDE) for v in range(SIDE))[1 : BITS + 1]
    expected = [coefficients[u, v] > 0 for _, u, v in frequencies]
    assert bits(np.repeat(grey[None, :, :, None], 3, axis=3))[0].tolist() == expected
    some = bits(np.stack([picture(seed) for seed in range(24)]))
    differ = (some[:, None] != some[None]).sum(-1)[np.triu_indices(24, 1)]
    assert 58 < differ.mean() < 70
    assert differ.min() > 36


@given(seed=st.integers(0, 2**31))
def test_scaling_light_and_bars_change_few_bits_and_a_small_crop_some(seed):
    shown = picture(seed)
    scaled = [cv2.resize(shown, size, interpolation=cv2.INTER_AREA) for size in ((96, 64), (128, 128))]
    darker, barred = (0.8 * shown).astype(np.uint8), np.pad(shown, ((20, 20), (0, 0), (0, 0)))
    assert max(apart(shown, other) for other in (*scaled, darker, barred)) <= 8
    assert apart(shown, shown[3:-3, 4:-4]) <= 32


def test_a_picture_of_little_contrast_once_it_is_shrunk_is_not_telling():
    for level in (0, 128, 255):
        assert not picture_hashes(np.full((1, 64, 64, 3), level, np.uint8))[1].any()
    board = np.zeros((1, 64, 64, 3), np.uint8)
    board[:, ::2, 1::2] = board[:, 1::2, ::2] = 255  # a chess board whose cells are half a pixel of the 32
    assert not picture_hashes(board)[1].any()
    halves = np.full((1, 64, 64, 3), 100, np.uint8)
    for step, telling in ((hashing.LEAST_CONTRAST - 1, False), (hashing.LEAST_CONTRAST + 1, True)):
        halves[:, 32:] = 100 + 2 * step  # standard deviation: the step
        assert picture_hashes(halves)[1].tolist() == [telling]


def scene(frames=4, height=60, width=90, seed=0):
    return np.random.default_rng(seed).integers(60, 220, (frames, height, width)).astype(np.uint8)


def boxed(luma, rows, columns, seed=1):
    """Bars of coded black: noise of a few levels."""
    padded = np.pad(luma, ((0, 0), (rows, rows), (columns, columns)))
    noise = np.random.default_rng(seed).integers(0, 12, padded.shape)
    return np.where(padded == 0, noise, padded).astype(np.uint8)


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (10, 0), (0, 15), (7, 9)])
def test_bars_are_cut_and_nothing_else(rows, columns):
    luma = scene()
    np.testing.assert_array_equal(without_bars(boxed(luma, rows, columns)), luma)


def test_what_is_a_bar_and_what_is_not():
    for edge in (np.s_[:, :12], np.s_[:, -12:], np.s_[:, :, :12], np.s_[:, :, -12:]):
        luma = scene()
        luma[edge] = 0
        assert without_bars(luma).shape == luma.shape
    for level in (0, 20):
        luma = np.full((3, 40, 50), level, np.uint8)
        assert without_bars(luma).shape == luma.shape
        luma[:, 18:22] = 200  # bars of 18 rows a side would be most of the picture
        assert without_bars(luma).shape == luma.shape
    luma = boxed(scene(), 10, 0)
    luma[2, 4] = 200  # one frame lights a row of the bar: the four rows above it remain, and below
    assert without_bars(luma).shape == (4, 80 - 2 * 4, 90)
    luma = boxed(scene(width=200), 10, 0)
    luma[:, 5, 7:9] = 255  # 1 % of the row
    assert without_bars(luma).shape == (4, 60, 200)
