"""Offsets of NNN in an index give what an evaluation with them gives."""

import numpy as np
import pytest
import torch

from index.normalise import nnn_offsets
from index.queries import Queries
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex
from mee.ranking.mixture import MixtureScores
from mee.ranking.normalise import ClipOffsets, ShiftedScores, nnn
from mee.ranking.top import top_of_block
from tests.index.galleries import LAYOUT, ORIGIN, assert_best, entries_of, loop_scores, random_gallery, random_text

FACTS = {"method": "nnn"}


def columns_of(offsets, gallery):
    order = np.argsort(gallery.clip_ids)  # `clip_rows` sorts by id
    return {"offset": offsets.offset.numpy()[order]}


def evaluated(text, gallery, offsets, k):
    """(Q, k) scores and ids as an evaluation has them."""
    scores = ShiftedScores(MixtureScores(text, gallery.video, LAYOUT), offsets)
    rows = slice(0, scores.queries)
    top = top_of_block(scores, scores.block(rows), rows, k)
    return top.score.numpy(), [[gallery.clip_ids[row] for row in found] for found in top.candidate.tolist()]


@pytest.mark.parametrize("queries", [3, 40])
def test_search_ranks_as_the_evaluation_does(queries):
    gallery, text = random_gallery(300, 2), random_text(queries, 9)
    offsets = nnn(MixtureScores(random_text(60, 4), gallery.video, LAYOUT), 16, 0.75)
    video_index = VideoIndex.of(entries_of(gallery, **columns_of(offsets, gallery)), LAYOUT, offsets=FACTS)
    expected_scores, expected_ids = evaluated(text, gallery, offsets, 10)
    for precision in ("float32", "bfloat16"):
        scores, ids = video_index.rank(text, 10, precision=precision)
        assert ids == expected_ids
        np.testing.assert_allclose(scores, expected_scores, atol=1e-6)
    assert ids != video_index.rank(text, 10, plain=True)[1]
    scores, ids = video_index.rank(text, 10, plain=True)
    assert_best(scores, ids, loop_scores(text, gallery), gallery.clip_ids, 10)


def test_certified_with_offsets_is_exact_on_disk_and_after_more_was_put(tmp_path):
    first, second, text = random_gallery(1500, 1), random_gallery(40, 2, first=2000), random_text(5, 3)
    names = [*first.clip_ids, *second.clip_ids]
    offset = torch.rand(len(names), generator=torch.Generator().manual_seed(1))
    parts = (ClipOffsets(offset[:1500]), ClipOffsets(offset[1500:]))
    with IndexWriter.create(tmp_path / "index", LAYOUT, ORIGIN, offsets=FACTS) as writer:
        writer.put(entries_of(first, **columns_of(parts[0], first)))
        writer.compact()
        writer.put(entries_of(second, **columns_of(parts[1], second)))
    video_index = VideoIndex.open(tmp_path / "index")
    reference = np.concatenate([loop_scores(text, first), loop_scores(text, second)], axis=1)
    for queries in (text, Queries.of(random_text(30, 3))):
        scores, ids = video_index.rank(queries, 20)
        if queries is text:
            assert_best(scores, ids, reference - offset.double().numpy(), names, 20)
        else:
            alone = video_index.rank(queries.part(slice(4, 5)), 20)
            assert ids[4] == alone[1][0]


@pytest.mark.parametrize("captions", [1, 7, 60])
def test_offsets_of_an_index_are_those_of_an_evaluation(captions, monkeypatch):
    monkeypatch.setattr("index.normalise.BLOCK", 900)
    gallery, bank = random_gallery(200, 3), random_text(captions, 8)
    video_index = VideoIndex.of(entries_of(gallery), LAYOUT)
    expected = nnn(MixtureScores(bank, gallery.video, LAYOUT), 16, 0.75)
    made = nnn_offsets(video_index, Queries.of(bank), 16, 0.75)
    assert set(made) == set(gallery.clip_ids)
    found = [made[clip_id] for clip_id in gallery.clip_ids]
    np.testing.assert_allclose(found, expected.offset.numpy(), atol=1e-5)


def test_clips_that_were_removed_have_none():
    video_index = VideoIndex.of(entries_of(random_gallery(50, 3)), LAYOUT)
    rest = video_index.segments[0].without(np.arange(10))
    video_index.snapshot = video_index.snapshot.with_segments([rest])
    made = nnn_offsets(video_index, Queries.of(random_text(5)), 128, 0.75)
    assert set(made) == set(rest.table.ids(np.arange(10, 50)))
