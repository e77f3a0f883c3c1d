"""From sentences and clips to hits: the whole way through a saved model and index."""

import shutil

import numpy as np
import pytest
import torch

from index.request.request import Request
from index.searcher import Searcher
from index.storage.entries import Entries
from index.storage.manifest import Origin
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex
from mee.checkpoint import fingerprint
from mee.data.source import load_ragged
from mee.encode import encode_captions, encode_gallery
from mee.errors import InputError
from mee.scoring import mixture_weights

CPU = torch.device("cpu")


def entries_of(model, source, **columns):
    """All clips, each with a number."""
    clips = source.clips.assign(number=range(len(source.clips)), **columns)
    return Entries.of(encode_gallery(model, source, list(clips.index)), clips, model.layout)


@pytest.fixture
def place(model, source, tmp_path):
    """A folder with a model and an index of the source's clips."""
    model.save_pretrained(tmp_path / "model")
    origin = Origin(str(tmp_path / "model"), fingerprint(tmp_path / "model"), "store")
    with IndexWriter.create(tmp_path / "index", model.layout, origin) as writer:
        writer.put(entries_of(model, source))
    return tmp_path


@pytest.fixture
def long_source(make_source):
    """Five videos of ten clips each."""
    return make_source([f"v{number}.mp4" for number in range(5)], clips_of_video=10, missing=0.4)


@pytest.fixture
def searcher(model, long_source):
    return Searcher(VideoIndex.of(entries_of(model, long_source), model.layout), model)


def scores_of(model, source, sentence, kept=(True,) * 3, weights=None):
    """Of every clip, by a plain loop over the equation; a clip that no expert is heard of has none."""
    ids = list(source.clips.index)
    gallery = encode_gallery(model, source, ids)
    text = encode_captions(model, [sentence])
    scores = {}
    for clip_id, packed, available in zip(
        gallery.clip_ids, gallery.video.packed, gallery.video.available.tolist()
    ):
        heard = [a and k and (weights is None or weights[m] > 0) for m, (a, k) in enumerate(zip(available, kept))]
        if any(heard):
            mixture = mixture_weights(text.logits.double(), heard)[0]
            if weights is not None:
                mixture = torch.tensor([w * h for w, h in zip(weights, heard)]).double()
                mixture = mixture / mixture.sum()
            scores[clip_id] = sum(
                float(mixture[m]) * float(text.packed[0, part].double() @ packed[part].double())
                for m, part in enumerate(model.layout.slices)
                if heard[m]
            )
    return scores


def agrees(hits, scores, top=1000):
    """Hits are the best of the scores, in their order."""
    order = sorted(scores, key=lambda name: (-scores[name], name))[:top]
    assert [hit.clip_id for hit in hits] == order
    assert [hit.score for hit in hits] == pytest.approx([scores[name] for name in order], abs=1e-5)
    assert all(
        sum(s.contribution for s in hit.experts.values()) == pytest.approx(hit.score, abs=1e-5) for hit in hits
    )


def test_search_scores_as_the_model_does(model, source, place, sentences):
    ids = list(source.clips.index)
    clips = {name: ragged.all() for name, ragged in load_ragged(source, model.modalities, ids).items()}
    scores = model(sentences, clips)
    searcher = Searcher.load(place / "index", device=CPU)
    assert searcher.modalities == model.modalities
    for row, hits in zip(scores, searcher.search(sentences, 12)):
        order = row.argsort(descending=True).tolist()
        assert [hit.clip_id for hit in hits] == [ids[number] for number in order]
        assert [hit.score for hit in hits] == pytest.approx(row[order].tolist(), abs=1e-5)
    assert searcher.search([], 3) == []


def test_a_request_of_a_sentence_alone_is_a_search(searcher, sentences):
    answers = searcher.answer([Request(sentence=sentence, top=7) for sentence in sentences])
    assert answers == searcher.search(sentences, 7)
    once, again = searcher.search(["a dog", "a dog"], 3)
    assert once == again
    assert searcher.answer([]) == []


def test_sentences_are_added_and_taken_off(searcher, model, long_source):
    request = Request(sentence="a dog", also=((0.5, "rain falls"), (-2.0, "drums")), top=1000)
    parts = [scores_of(model, long_source, sentence) for sentence in ("a dog", "rain falls", "drums")]
    mixed = {name: (parts[0][name] + 0.5 * parts[1][name] - 2 * parts[2][name]) / 3.5 for name in parts[0]}
    agrees(searcher.answer([request])[0], mixed)


@pytest.mark.parametrize(
    ("fields", "kept", "weights"),
    [
        ({"only": ("audio",)}, [False, False, True], None),
        ({"only": ("audio", "appearance")}, [True, False, True], None),
        ({"weights": {"audio": 3.0, "motion": 1.0}}, [True] * 3, [0.0, 1.0, 3.0]),
    ],
)
def test_some_experts_and_the_users_weights(searcher, model, long_source, fields, kept, weights):
    hits = searcher.answer([Request(sentence="a dog", top=1000, **fields)])[0]
    agrees(hits, scores_of(model, long_source, "a dog", kept, weights))


def test_more_like_a_clip(searcher, long_source):
    wanted = long_source.clips.index[7]
    packed, available = searcher.video_index.embedding(wanted)
    hits = searcher.answer([Request(like=wanted, top=1000)])[0]
    assert wanted not in [hit.clip_id for hit in hits]
    slices = searcher.video_index.layout.slices
    scores = {}
    for clip_id in long_source.clips.index.drop(wanted):
        other, there = searcher.video_index.embedding(clip_id)
        both = [slices[m] for m in np.flatnonzero(available & there)]
        if both:
            scores[clip_id] = float(np.mean([packed[part] @ other[part] for part in both]))
    agrees(hits, scores)


def test_a_clip_and_sentences_together(searcher, long_source):
    wanted = long_source.clips.index[7]
    alone = {h.clip_id: h.score for h in searcher.answer([Request(like=wanted, top=1000)])[0]}
    said = {h.clip_id: h.score for h in searcher.answer([Request(sentence="a dog", top=1000)])[0]}
    hits = searcher.answer([Request(sentence="a dog", like=wanted, top=1000)])[0]
    agrees(hits, {name: (alone[name] + said[name]) / 2 for name in alone})


def test_filters_and_videos(searcher, model, long_source):
    scores = scores_of(model, long_source, "a dog")
    table = long_source.clips
    number = {clip_id: place for place, clip_id in enumerate(table.index)}
    early = {name: score for name, score in scores.items() if number[name] >= 5 and table.start_s[name] < 30}
    hits = searcher.answer([Request(sentence="a dog", where="number >= 5 and start_s < 30", top=1000)])[0]
    agrees(hits, early)
    hits = searcher.answer([Request(sentence="a dog", where="start_s < 30", video="v2.mp4")])[0]
    agrees(hits, {name: score for name, score in early.items() if table.video[name] == "v2.mp4"})
    assert searcher.answer([Request(sentence="a dog", where="duration > 999")]) == [[]]
    assert searcher.answer([Request(sentence="a dog", where="duration > 999", by_video=True)]) == [[]]


@pytest.mark.parametrize("where", [None, "start_s >= 20"])
def test_videos_by_their_best_moment(searcher, model, long_source, sentences, where):
    table = long_source.clips
    for sentence in sentences:
        scores = scores_of(model, long_source, sentence)
        names = [
            name for name in sorted(scores, key=lambda n: -scores[n]) if where is None or table.start_s[name] >= 20
        ]
        order = list(dict.fromkeys(table.video[name] for name in names))[:3]
        request = Request(sentence=sentence, where=where, by_video=True, top=3, moments=4)
        found = searcher.answer([request])[0]
        assert [one.video for one in found] == order
        for one in found:
            assert [hit.clip_id for hit in one.hits] == [n for n in names if table.video[n] == one.video][:4]


def test_videos_where_offsets_count(model, long_source):
    scores = scores_of(model, long_source, "a dog")
    entries = entries_of(model, long_source, offset=np.random.default_rng(0).normal(size=50) / 5)
    searcher = Searcher(VideoIndex.of(entries, model.layout, offsets={"method": "nnn"}), model)
    full = searcher.search(["a dog"], 1000)[0]
    assert all(hit.offset for hit in full)
    for where in (None, "start_s > 30"):
        left = [hit for hit in full if where is None or hit.start_s > 30]
        found = searcher.answer([Request(sentence="a dog", where=where, by_video=True, top=5, moments=6)])[0]
        assert [one.video for one in found] == list(dict.fromkeys(hit.video for hit in left))
        for one in found:
            its = [(hit.clip_id, hit.score) for hit in left if hit.video == one.video][:6]
            assert [(hit.clip_id, hit.score) for hit in one.hits] == its
    requests = [Request(sentence="a dog", plain=plain, top=1000) for plain in (True, False)]
    without, with_them = searcher.answer(requests)
    agrees(without, scores)
    assert with_them == full


def test_a_long_video_hides_no_other(model, long_source):
    """Forty clips of one video are better than the others' ten: more than are looked at first."""
    scores = scores_of(model, long_source, "a dog")
    names = sorted(scores, key=lambda name: (-scores[name], name))
    video = {name: "long" if place < 40 else f"v{place % 3}" for place, name in enumerate(names)}
    entries = entries_of(model, long_source, video=[video[name] for name in long_source.clips.index])
    searcher = Searcher(VideoIndex.of(entries, model.layout), model)
    found = searcher.answer([Request(sentence="a dog", by_video=True, top=3, moments=2)])[0]
    assert [one.video for one in found] == list(dict.fromkeys(video[name] for name in names))[:3]
    for one in found:
        assert [hit.clip_id for hit in one.hits] == [name for name in names if video[name] == one.video][:2]


def test_different_requests_together_get_what_each_gets_alone(searcher, long_source):
    clip = long_source.clips.index[3]
    requests = [
        Request(sentence="a dog"),
        Request(sentence="a dog", by_video=True, top=2),
        Request(sentence="a cat", also=((1.0, "a dog"), (0.5, "rain"))),
        Request(like=clip),
        Request(sentence="a dog", like=clip, only=tuple(long_source.dims)),
        Request(sentence="rain", where="number < 20"),
        Request(sentence="snow", where="number < 20"),
        Request(sentence="rain", exact=True, plain=True),
        Request(sentence="rain", weights={"audio": 1}),
        Request(also=((-2.0, "a cat"),), only=("audio",)),
    ]
    together, alone = searcher.answer(requests), [searcher.answer([request])[0] for request in requests]
    for left, right in zip(together, alone):
        assert len(left) == len(right) > 0
        for one, other in zip(left, right):
            assert getattr(one, "clip_id", one.video) == getattr(other, "clip_id", other.video)
            assert one.score == pytest.approx(other.score, abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"only": ("audo",)}, "did you mean 'audio'"),
        ({"weights": {"motoin": 1.0}}, "did you mean 'motion'"),
        ({"like": "v1.mp4#t=0,1"}, "'v1.mp4#t=0,1'"),
        ({"video": "v1.mp3"}, "'v1.mp3'"),
        ({"where": "numbr < 3"}, "did you mean 'number'"),
    ],
)
def test_what_is_not_there_is_one_sentence(searcher, fields, name):
    request = Request(sentence="a dog", **fields)
    for refuse in (lambda: searcher.answer([request]), lambda: searcher.check(request)):
        with pytest.raises(InputError, match=name) as caught:
            refuse()
        assert "\n" not in str(caught.value)


def test_an_empty_sentence_is_refused(searcher):
    with pytest.raises(InputError, match="number 2 of 2"):
        searcher.search(["a dog", " "], 3)


def test_a_searcher_sees_what_a_writer_does_once_it_is_told(place):
    searcher = Searcher.load(place / "index", device=CPU)
    gone = searcher.search(["a dog"], 1)[0][0].clip_id
    assert searcher.refresh() is False
    with IndexWriter.open(place / "index") as writer:
        writer.remove([gone])
    assert gone in [hit.clip_id for hit in searcher.search(["a dog"], 99)[0]]
    assert searcher.refresh() is True
    assert gone not in [hit.clip_id for hit in searcher.search(["a dog"], 99)[0]]
    for fields in ({"like": gone}, {"video": gone}):
        with pytest.raises(InputError, match=gone):
            searcher.answer([Request(sentence="a dog", **fields)])


def test_clips_and_videos_are_told_apart_where_segments_hold_replaced_and_removed_rows(place, model, source):
    with IndexWriter.open(place / "index") as writer:
        writer.remove([source.clips.index[0]])
        every = entries_of(model, source)
        writer.put(Entries(every.table.slice(0, 4), every.packed[:4], every.available[:4]))
    searcher = Searcher.load(place / "index", device=CPU)
    assert len(searcher.video_index.segments) == 2
    for clip_id in source.clips.index[[0, 1, 7]]:
        (own,) = searcher.answer([Request(sentence="a dog", video=clip_id, where="number >= 0")])[0]
        assert own.clip_id == clip_id
        like = searcher.answer([Request(sentence="a dog", like=clip_id, top=99)])[0]
        assert clip_id not in [hit.clip_id for hit in like]
    hits, by_video = searcher.search(["a dog"], 99)[0], Request(sentence="a dog", by_video=True, top=11, moments=2)
    found = searcher.answer([by_video])[0]
    assert [(one.video, len(one.hits)) for one in found] == [(hit.video, 1) for hit in hits[:11]]


def test_an_index_that_is_made_again_with_another_model_is_not_searched_with_the_old(place, model, source):
    searcher = Searcher.load(place / "index", device=CPU)
    origin = Origin(str(place / "model"), "another", "store")
    with IndexWriter.create(place / "index", model.layout, origin, overwrite=True) as writer:
        writer.put(entries_of(model, source))
    with pytest.raises(InputError, match="made again with another model"):
        searcher.refresh()


def test_a_model_that_is_gone_or_moved(place):
    shutil.move(place / "model", place / "elsewhere")
    with pytest.raises(InputError, match=r"is not at .*--model"):
        Searcher.load(place / "index", device=CPU)
    moved = Searcher.load(place / "index", device=CPU, model=place / "elsewhere")
    assert len(moved.search(["a dog"], 3)[0]) == 3
    with pytest.raises(InputError, match="nowhere"):
        Searcher.load(place / "index", device=CPU, model=place / "nowhere")


def test_a_model_that_changed_or_is_not_whole_is_refused(place, model):
    with torch.no_grad():
        model.mixture.bias.add_(1)
    model.save_pretrained(place / "model")
    with pytest.raises(InputError, match=r"is not the model .*--overwrite"):
        Searcher.load(place / "index", device=CPU)
    (place / "model" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        Searcher.load(place / "index", device=CPU)


def test_an_index_of_another_layout_is_refused(model):
    other = type("Other", (), {"layout": type(model.layout)(("appearance",), (6,))})
    with pytest.raises(ValueError, match="the model makes"):
        Searcher(other, model)
