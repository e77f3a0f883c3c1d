"""Offsets of NNN in an index give what an evaluation with them gives."""

import numpy as np
import pytest
import torch

from index.normalise import nnn_offsets
from index.queries import Queries
from index.storage.writer import IndexWriter
from mee.ranking.mixture import MixtureScores
from mee.ranking.normalise import ShiftedScores, nnn
from mee.ranking.top import top_of_block
from tests.index.galleries import LAYOUT, RULES, assert_best, entries_of, loop_scores, random_gallery, random_text

FACTS = {"method": "nnn"}


def sorted_by_id(offset, gallery):
    return offset.numpy()[np.argsort(gallery.clip_ids)]  # as the rows of `clip_rows`


@pytest.mark.parametrize("queries", [3, 40])
@pytest.mark.parametrize("layout", RULES, ids=lambda layout: layout.missing)
def test_search_ranks_as_the_evaluation_does(make_index, queries, layout):
    gallery, text = random_gallery(300, 2), random_text(queries, 9)
    offsets = nnn(MixtureScores(random_text(60, 4), gallery.video, layout), 16, 0.75)
    offset = sorted_by_id(offsets.offset, gallery)
    video_index = make_index(gallery, layout=layout, offsets=FACTS, offset=offset)
    shifted, rows = ShiftedScores(MixtureScores(text, gallery.video, layout), offsets), slice(0, queries)
    expected = top_of_block(shifted, shifted.block(rows), rows, 10)
    for precision in ("float32", "bfloat16"):
        ranked = video_index.rank(text, 10, precision=precision)
        assert ranked.ids == [[gallery.clip_ids[row] for row in found] for found in expected.candidate.tolist()]
        np.testing.assert_allclose(ranked.scores, expected.score.numpy(), atol=1e-6)
    plain = video_index.rank(text, 10, plain=True)
    assert plain.ids != ranked.ids
    assert_best(plain, loop_scores(text, gallery, layout), gallery.clip_ids, 10)


@pytest.mark.parametrize("kind", ["certified", "prefixes"])
def test_certified_with_offsets_is_exact_on_disk_and_after_more_was_put(make_index, tmp_path, kind):
    first, second = random_gallery(1500, 1), random_gallery(40, 2, first=2000)
    names = [*first.clip_ids, *second.clip_ids]
    offset = torch.rand(len(names), generator=torch.Generator().manual_seed(1))
    parts = [sorted_by_id(offset[:1500], first), sorted_by_id(offset[1500:], second)]
    video_index = make_index(first, tmp_path / "index", kind, offsets=FACTS, offset=parts[0])
    with IndexWriter.open(tmp_path / "index") as writer:
        writer.put(entries_of(second, offset=parts[1]))
    assert video_index.refresh()
    text, many = random_text(5, 3), Queries.of(random_text(30, 3))
    reference = np.concatenate([loop_scores(text, first), loop_scores(text, second)], axis=1)
    assert_best(video_index.rank(text, 20), reference - offset.double().numpy(), names, 20)
    assert video_index.rank(many, 20).ids[4] == video_index.rank(many.part(slice(4, 5)), 20).ids[0]


@pytest.mark.parametrize("captions", [1, 7, 60])
def test_offsets_of_an_index_are_those_of_an_evaluation(make_index, captions, monkeypatch):
    monkeypatch.setattr("index.normalise.BLOCK", 900)
    gallery, bank = random_gallery(200, 3), random_text(captions, 8)
    expected, video_index = nnn(MixtureScores(bank, gallery.video, LAYOUT), 16, 0.75), make_index(gallery)
    made = nnn_offsets(video_index, Queries.of(bank), 16, 0.75)
    assert set(made) == set(gallery.clip_ids)
    np.testing.assert_allclose([made[clip_id] for clip_id in gallery.clip_ids], expected.offset.numpy(), atol=1e-5)
    rest = video_index.snapshot.segments[0].without(np.arange(10))  # removed clips get no offset
    video_index.snapshot = video_index.snapshot.with_segments([rest])
    assert set(nnn_offsets(video_index, Queries.of(bank), 16, 0.75)) == set(rest.table.ids(np.arange(10, 200)))
