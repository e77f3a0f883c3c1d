"""Constants from an index's own clips are those of an evaluation over the same clips."""

import numpy as np
import pytest

from index.normalise import nnn_constants
from index.queries import Queries
from index.video_index import VideoIndex
from mee.ranking.mixture import MixtureScores
from mee.ranking.normalise import nnn
from tests.index.galleries import LAYOUT, entries_of, random_gallery, random_text


@pytest.mark.parametrize("captions", [1, 7, 60])
def test_they_equal_those_of_an_evaluation(captions, monkeypatch):
    monkeypatch.setattr("index.normalise.BLOCK", 900)
    gallery, bank = random_gallery(200, 3), random_text(captions, 8)
    video_index = VideoIndex.of(entries_of(gallery), LAYOUT)
    expected = nnn(MixtureScores(bank, gallery.video, LAYOUT), 16, 0.75)
    made = nnn_constants(video_index, Queries.of(bank), 16, 0.75)
    assert set(made) == set(gallery.clip_ids)
    found = [made[clip_id] for clip_id in gallery.clip_ids]
    np.testing.assert_allclose(found, expected.constant.numpy(), atol=1e-5)


def test_clips_that_were_removed_have_none():
    video_index = VideoIndex.of(entries_of(random_gallery(50, 3)), LAYOUT)
    rest = video_index.segments[0].without(np.arange(10))
    video_index.snapshot = video_index.snapshot.with_segments([rest])
    made = nnn_constants(video_index, Queries.of(random_text(5)), 128, 0.75)
    assert set(made) == set(rest.table.ids(np.arange(10, 50)))
