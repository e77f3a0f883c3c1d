"""Evaluation of a model: several clips and captions, clips without streams, captions read once."""

import pandas as pd
import pytest
import torch

from mee.data.pairs import match_captions
from mee.encode import embed_captions, encode_captions, encode_gallery
from mee.errors import InputError
from mee.evaluation.evaluate import evaluate_pairs, text_of
from mee.evaluation.metrics import expected_ranks, retrieval_metrics
from mee.evaluation.question import Asked
from mee.ranking.mixture import MixtureScores, schemes
from mee.ranking.rank import rank_queries
from tests.mee.whole_scores import whole_matrix


@pytest.fixture
def long_source(make_source):
    return make_source([f"v{number}.mp4" for number in range(5)], clips_of_video=3, seed=2)


@pytest.fixture
def pairs(long_source):
    """Whole videos and single clips, several captions each, one sentence twice."""
    rows = [(f"v{number % 5}", f"a dog number {number % 7}") for number in range(9)]
    rows += [("v1.mp4#t=10,20", "a red circle"), ("v2.mp4#t=0,10", "a dog number 2")]
    table = pd.DataFrame(rows, columns=["video_id", "caption"])
    return match_captions(table, long_source, partial=False)[0]


def whole_matrix_ranks(model, gallery, pairs, scheme="mixture"):
    """Both ways, captions in their own order, by the definition of ranks on the whole matrix."""
    text = encode_captions(model, pairs.captions)
    scores = MixtureScores(text, gallery.video, model.layout, scheme=scheme)
    matrix = whole_matrix(scores)
    positive = torch.tensor([[clip_id in own for clip_id in gallery.clip_ids] for own in pairs.clip_ids])
    asked, captioned = positive.any(1), positive.any(0)
    t2v = expected_ranks(matrix[asked], positive[asked])
    matrix, positive = matrix[asked].T[captioned], positive[asked].T[captioned]
    return t2v, expected_ranks(matrix, positive)


def ranks_of(model, gallery, pairs, scheme="mixture"):
    """Both ways, captions in their own order."""
    asked = Asked.of(pairs, gallery)
    text = text_of(encode_captions(model, pairs.captions), asked)
    without = len(gallery.without_stream)
    scores = MixtureScores(text, gallery.video, model.layout, scheme=scheme, without_stream=without)
    ranking = rank_queries(scores, asked.positives)
    return ranking.t2v.rank[asked.numbers.argsort()], ranking.v2t.rank


def test_ranks_equal_those_of_the_whole_matrix(model, long_source, pairs):
    gallery = encode_gallery(model, long_source, list(long_source.clips.index))
    for scheme in schemes(model.layout):
        ranks = ranks_of(model, gallery, pairs, scheme)
        for ours, expected in zip(ranks, whole_matrix_ranks(model, gallery, pairs, scheme)):
            assert ours.equal(expected)


def test_captions_whose_clips_are_not_in_the_gallery_take_no_part(model, long_source, pairs):
    gallery = encode_gallery(model, long_source, [i for i in long_source.clips.index if i[1] in "13"])
    report = evaluate_pairs(model, gallery, pairs)
    assert report.queries == sum(video[1] in "13" for video in pairs.videos)
    t2v, v2t = whole_matrix_ranks(model, gallery, pairs)
    for ours, ranks in ((report.t2v, t2v), (report.v2t, v2t)):
        expected = retrieval_metrics(ranks)
        assert {name: ours[name] for name in expected} == pytest.approx(expected)


def test_clips_without_captions_are_wrong_answers_and_no_queries(model, long_source, pairs):
    few = pairs.of_videos({"v0.mp4"})
    gallery = encode_gallery(model, long_source, list(long_source.clips.index))
    t2v, v2t = ranks_of(model, gallery, few)
    assert len(t2v) == len(few)
    assert v2t.tolist() == [1, 1, 1]  # every caption is their own


def test_permuting_captions_and_gallery_changes_no_figure(model, long_source, pairs):
    ids = list(long_source.clips.index)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = type(pairs)(
        *(tuple(column[n] for n in order) for column in (pairs.captions, pairs.videos, pairs.clip_ids, pairs.ids))
    )
    one = evaluate_pairs(model, encode_gallery(model, long_source, ids), pairs)
    other = evaluate_pairs(model, encode_gallery(model, long_source, ids[::-1]), shuffled)
    assert one.t2v == pytest.approx(other.t2v)
    assert one.v2t == pytest.approx(other.v2t)


def test_a_clip_without_any_stream_is_not_found_and_its_caption_counts(model, source):
    for streams in source.streams.values():
        streams.pop("v03.mp4", None)
    table = pd.DataFrame({"video_id": source.clips["video"], "caption": "a dog"})
    pairs, _ = match_captions(table, source, partial=False)
    gallery = encode_gallery(model, source, pairs.gallery)
    report = evaluate_pairs(model, gallery, pairs)
    assert (report.queries, report.gallery, gallery.without_stream) == (12, 12, ("v03.mp4",))
    assert report.v2t["MeanR"] == 6.5  # one sentence for all: every caption ties with every other
    assert ranks_of(model, gallery, pairs)[0][3] == 12


def assert_close(one, other):
    torch.testing.assert_close((one.packed, one.logits), (other.packed, other.logits), atol=1e-6, rtol=1e-5)


def test_captions_are_embedded_in_eval_mode_and_the_mode_is_left_as_it_was(model, sentences):
    expected = encode_captions(model, sentences)
    model.train()
    again = embed_captions(model, sentences, model.read_text(sentences), batch_size=2)
    assert model.training
    assert not again.packed.requires_grad
    assert_close(again, expected)


@pytest.mark.parametrize("batch_size", [1, 2, 256])
def test_each_sentence_is_embedded_once_so_that_the_same_words_always_tie(model, sentences, batch_size):
    captions = [sentences[2], *sentences, sentences[0], sentences[2]]
    read = model.read_text(list(dict.fromkeys(captions)))
    text = embed_captions(model, captions, read, batch_size)
    assert text.packed[[0, 0, 1]].equal(text.packed[[3, 8, 7]])
    assert text.logits[[0, 0, 1]].equal(text.logits[[3, 8, 7]])
    assert_close(text, model.encode_text(captions))


def test_captions_that_were_embedded_before_give_the_same_report(model, source):
    table = pd.DataFrame({"video_id": source.clips["video"], "caption": "a dog in " + source.clips["video"]})
    pairs, _ = match_captions(table, source, partial=False)
    gallery = encode_gallery(model, source, pairs.gallery)
    text = encode_captions(model, pairs.captions)
    assert evaluate_pairs(model, gallery, pairs, text=text) == evaluate_pairs(model, gallery, pairs)


def test_an_empty_caption_is_refused(model):
    with pytest.raises(InputError, match="number 2 of 2"):
        encode_captions(model, ["a dog", " "])
