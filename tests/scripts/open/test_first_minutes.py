"""The benchmark of the first minutes: copies of an index that changes, and how well they find."""

import numpy as np

from benchmarks.open.first_minutes import copied, found_within, grown
from index import IndexWriter


def test_a_video_counts_from_when_it_is_in_the_index(own, tmp_path):
    last, copies = b"", []
    for gone in ((), ("clip0.mp4", "clip1.mp4", "clip9.png"), ()):
        with IndexWriter.open(own.index) as writer:
            writer.remove(gone)
        place = tmp_path / f"copy{len(copies)}"
        if (manifest := copied(own.index, place, last)) != last:
            copies.append({"place": place})
            last = manifest
    rows = list(grown(copies, own.captions))
    assert [(row["videos"], row["r10"]) for row in rows] == [(10, 100), (7, 70)]


def test_a_rank_is_the_expected_one_under_ties():
    scores = np.array([[3, 2, 1], [2, 2, 2], [1, -np.inf, 2]], np.float32)
    assert found_within(scores, np.array([0, 0, 1]), 1).tolist() == [100, 0, 0]
    assert found_within(scores, np.array([2, 0, 1]), 2).tolist() == [0, 100, 0]
