"""The benchmark of near-duplicates, on videos made here: copies are found, and different videos are not."""

import cv2
import numpy as np
import pytest

from benchmarks.near_duplicates import VERSIONS, main
from tests.features.media_files import write


@pytest.fixture
def folder(tmp_path):
    """Three videos of slowly moving blotches, two seconds each."""
    for number in range(3):
        coarse = np.random.default_rng(number).uniform(30, 255, (8, 12, 3))
        wide = cv2.resize(coarse, (240, 128), interpolation=cv2.INTER_CUBIC).clip(30, 255).astype(np.uint8)
        write(tmp_path / f"v{number}.mp4", [wide[:, 2 * n : 2 * n + 192] for n in range(20)])
    return tmp_path


@pytest.mark.slow
def test_it_finds_copies_and_nothing_else(folder, capsys):
    assert main([str(folder), "--workers=1"]) == 0
    table, _, last = capsys.readouterr().out.split("\n\n")
    head, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    at = {row[0]: row[head.index("32")] for row in rows}
    alarms = (f"false alarms: versions ({6 * len(VERSIONS)} pairs)", "false alarms: videos (3 pairs)")
    assert list(at) == [*(f"{version} (3)" for version in VERSIONS), *alarms]
    for version in ("as it is", "low quality", "half the size", "squeezed to a square", "letterbox", "grey"):
        assert at[f"{version} (3)"] == "3"
    assert at["mirrored (3)"] == at[alarms[0]] == "0"
    assert "nearest of 3 different videos: " in last


def test_one_video_is_too_few(folder, capsys):
    for name in ("v1.mp4", "v2.mp4"):
        (folder / name).unlink()
    assert main([str(folder), "--workers=1", "--seconds=0.5"]) == 1
    assert f"error: '{folder}' holds 1 videos" in capsys.readouterr().err
