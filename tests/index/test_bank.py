"""Constants from an index's own clips are those of an evaluation over the same clips."""

import numpy as np
import pytest
import torch

from index.bank import nnn_constants, qb_norm_constants
from index.queries import Queries
from index.video_index import VideoIndex
from mee.model import TextEmbedding
from mee.ranking.mixture import MixtureScores
from mee.ranking.normalise import nnn, qb_norm
from tests.index.galleries import LAYOUT, entries_of, random_gallery, random_text


@pytest.mark.parametrize("captions", [1, 7, 60])
def test_they_equal_those_of_an_evaluation(captions):
    gallery, bank = random_gallery(200, 3), random_text(captions, 8)
    video_index = VideoIndex.of(entries_of(gallery), LAYOUT)
    scores = MixtureScores(bank, gallery.video, LAYOUT)
    for made, expected in (
        (nnn_constants(video_index, Queries.of(bank), 16, 0.75), nnn(scores, 16, 0.75)),
        (qb_norm_constants(video_index, Queries.of(bank), 20.0), qb_norm(scores, 20.0)),
    ):
        assert set(made) == set(gallery.clip_ids)
        found = [made[clip_id] for clip_id in gallery.clip_ids]
        np.testing.assert_allclose([constant for constant, _ in found], expected.constant.numpy(), atol=1e-5)
        active = torch.ones(200).bool() if expected.active is None else expected.active
        assert [kept for _, kept in found] == active.tolist()


def test_clips_that_were_removed_have_none():
    video_index = VideoIndex.of(entries_of(random_gallery(50, 3)), LAYOUT)
    rest = video_index.segments[0].without(np.arange(10))
    video_index.snapshot = video_index.snapshot.with_segments([rest])
    made = nnn_constants(video_index, Queries.of(random_text(5)), 128, 0.75)
    assert set(made) == set(rest.table.ids(np.arange(10, 50)))


def test_a_bank_without_captions_is_refused():
    video_index = VideoIndex.of(entries_of(random_gallery(5)), LAYOUT)
    nothing = TextEmbedding(torch.zeros(0, LAYOUT.total), torch.zeros(0, 4))
    with pytest.raises(ValueError, match="this one is empty"):
        nnn_constants(video_index, Queries.of(nothing), 3, 1.0)
