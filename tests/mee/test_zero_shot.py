"""Models without captions: what a sentence reaches, and how much each expert counts for it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from mee import zero_shot
from mee.config import NO_TEXT
from mee.data.pairs import match_captions
from mee.encode import encode_captions, encode_gallery
from mee.evaluation.retrieval import Retrieval
from mee.layout import Scale
from mee.model import MEE
from mee.text.config import ENCODERS, TextConfig
from mee.zero_shot import bank, fit_gallery, make_model, measure_scale, standing_out
from tests.mee.conftest import COLOURS, SOUNDS, Spoken, refusal

BAG = TextConfig(encoder="bag")
SENTENCES = (*COLOURS, *SOUNDS, "red something", "something with drums", "something blue with rain")


@pytest.fixture(autouse=True)
def _bag_of_words(monkeypatch, tmp_path):
    monkeypatch.setitem(ENCODERS, "bag", "tests.mee.conftest:BagOfWords")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def source(make_toy):
    """Colours by name with 0.8 of all probability, in half of the clips a sound is named, at last of two lines."""
    toy, _ = make_toy(48)
    seen = {}
    for number, clip_id in enumerate(toy.clips.index):
        likely = np.full((2, 4), 0.2 / 3) + (0.8 - 0.2 / 3) * np.eye(4)[number % 4]
        seen[clip_id] = np.concatenate([toy.streams["motion"][clip_id][:1, :1].repeat(2, 0), likely], 1).astype(
            "f2"
        )
    said = {
        clip_id: [(0.0, 1.0, "something"), (2.0, 3.0, f"something with {SOUNDS[number // 4 % 4]}")]
        for number, clip_id in enumerate(toy.clips.index)
        if number % 2
    }
    return Spoken(
        {"appearance": seen, "motion": toy.streams["motion"]},
        toy.clips,
        dims={"appearance": 5, "motion": 4, "speech": 0},
        fingerprints={name: name for name in ("appearance", "motion", "speech")},
        columns={"appearance": ("", *COLOURS)},
        said=said,
    )


@pytest.fixture
def model(source):
    return make_model(source, BAG, sentences=SENTENCES)


def test_streams_become_experts_by_what_they_hold(source, model, tmp_path):
    kinds = {each.name: (each.start, each.named, each.words, each.text) for each in model.config.experts}
    assert kinds == {
        "appearance": ("names", 4, False, ""),
        "motion": ("identity", 0, False, NO_TEXT),
        "speech": ("identity", 0, True, ""),
    }
    gallery = encode_gallery(model, source, list(source.clips.index))
    text = encode_captions(model, list(COLOURS + SOUNDS))
    assert text.logits[:, 1].isneginf().all()
    assert text.logits[:, [0, 2]].eq(0).all()
    for m, name, words in ((0, "appearance", COLOURS), (2, "speech", SOUNDS)):
        rows = zero_shot.similarities(model, text, gallery.video, name)
        for number, word in enumerate(COLOURS + SOUNDS):
            if word in words:
                there = gallery.video.available[:, m].nonzero().squeeze(1)
                best = there[rows[number].topk(6).indices]
                right = best % 4 if name == "appearance" else best // 4 % 4
                assert right.eq(words.index(word)).all()
    model.save_pretrained(tmp_path / "model")
    again = MEE.from_pretrained(tmp_path / "model")
    assert again.config == model.config
    torch.testing.assert_close(
        encode_gallery(again, source, list(source.clips.index)).video.packed, gallery.video.packed
    )


def test_a_model_is_made_for_other_clips_of_the_same_streams_by_its_video_side_alone(source, model):
    fewer = replace(source, clips=source.clips.iloc[:9])
    wanted = make_model(fewer, BAG, sentences=SENTENCES).state_dict()
    assert any(not torch.equal(wanted[name], tensor) for name, tensor in model.state_dict().items())
    fit_gallery(model, fewer)
    assert all(torch.equal(wanted[name], tensor) for name, tensor in model.state_dict().items())


def test_a_scale_is_that_of_plain_loops_however_clips_are_divided(source, model):
    gallery = encode_gallery(model, source, list(source.clips.index))
    text, video = encode_captions(model, SENTENCES), gallery.video
    found = measure_scale(model, [video[torch.arange(5)], video[torch.arange(5, 48)], video[torch.arange(0)]])
    for m, name in enumerate(model.modalities):
        if name == "motion":
            assert [getattr(found, each)[m] for each in ("mean", "spread", "top", "top_spread")] == [0, 1, 0, 1]
            continue
        columns, every, tops = model.layout.slices[m], [], []
        for q in range(len(SENTENCES)):
            own = []
            for clip in range(48):
                rows = [video.packed[clip, columns]]
                if name == "speech":
                    stream = video.words[name]
                    rows = stream.values[stream.offsets[clip] : stream.offsets[clip + 1]]
                if video.available[clip, m]:
                    own.append(max(float(text.packed[q, columns].double() @ row.double()) for row in rows))
            every += own
            tops.append(max(own))
        loops = (np.mean(every), np.std(every), np.mean(tops), np.std(tops, ddof=1))
        measured = (found.mean[m], found.spread[m], found.top[m], found.top_spread[m])
        np.testing.assert_allclose(measured, loops, rtol=1e-5, atol=1e-6)


def test_a_sentence_gives_weight_to_the_expert_in_which_it_stands_out(source, model):
    gallery = encode_gallery(model, source, list(source.clips.index))
    sentences = ("something red", "something with barking")
    text = standing_out(model, encode_captions(model, sentences), gallery.video)
    weights = text.logits.softmax(1)
    assert weights.argmax(1).tolist() == [0, 2]
    assert weights[:, 1].eq(0).all()
    scale = measure_scale(model, [gallery.video])
    torch.testing.assert_close(text.offsets[0], torch.tensor(scale.mean))
    learned = MEE(replace(model.config, weights="learned"), model.text_encoder).eval()
    assert standing_out(learned, text, gallery.video) is text


def test_evaluation_weighs_as_search_does(source, model):
    videos = list(source.clips.index)[1::2]
    captions = [f"{COLOURS[n % 4]} with {SOUNDS[n // 4 % 4]}" for n in range(1, 48, 2)]
    pairs = match_captions(pd.DataFrame({"video_id": videos, "caption": captions}), source, partial=False)[0]
    gallery = encode_gallery(model, source, videos)
    retrieval = Retrieval.of(model, gallery, pairs)
    alone = [retrieval.measure(name).t2v.metrics["MedR"] for name in ("appearance", "speech")]
    assert alone == [6.5, 3.5]  # two colours and four sounds among 24 clips
    assert retrieval.measure().t2v.metrics["MedR"] == 2
    assert [row.name for row in retrieval.schemes()] == ["appearance", "speech", "uniform", "renormalise"]
    assert [row.name for row in retrieval.removed()] == ["appearance", "speech"]
    assert retrieval.schemes()[2].text_to_video["MedR"] == 2


def test_an_expert_of_which_no_clip_has_the_stream_gets_no_weight():
    scale = Scale(mean=(0.1, 0.0), spread=(0.5, 1.0), top=(0.4, 0.0), top_spread=(0.1, 1.0))
    logits = scale.logits(np.array([[0.6, -np.inf]]))
    np.testing.assert_allclose(logits, [[2 - np.log(0.5), -np.inf]])


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"columns": {}, "dims": {"appearance": 5, "motion": 4}}, {}),
        ({}, {"names": ("audio",)}),
        ({}, {"towers": {"audio": "a/tower"}}),
        ({}, {"text": TextConfig(encoder="transformer")}),
    ],
    ids=["no-text-side", "unknown-stream", "unknown-tower", "trainable-encoder"],
)
def test_what_makes_no_model_is_refused(source, change, options, says):
    says(refusal(make_model, replace(source, **change), **{"text": BAG} | options))


def test_the_bank_is_of_general_sentences():
    assert len(bank()) == len(set(bank())) == 500
    assert all(sentence == sentence.strip() and sentence.isprintable() for sentence in bank())
