"""Words in an index: found, shown, filtered by; sentences on one scale; experts that sentences do not reach."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from index import Origin, Request, Searcher, synchronise
from index.hit import hits_of
from index.normalise import nnn_offsets
from index.queries import Queries
from index.storage.entries import Entries
from index.storage.table import Words, folded
from index.storage.verify import verify_index
from index.storage.writer import IndexWriter
from index.sync import videos_of
from index.video_index import VideoIndex
from mee.checkpoint import fingerprint
from mee.encode import Gallery, encode_captions, encode_gallery
from mee.errors import InputError
from mee.layout import Scale
from mee.model import TextEmbedding, VideoEmbedding
from mee.text.config import ENCODERS, TextConfig
from mee.zero_shot import make_model, measure_scale, similarities
from scripts.search import main, print_hits
from tests.index.galleries import (
    SPOKEN,
    assert_best,
    clip_rows,
    entries_of,
    loop_scores,
    random_gallery,
    random_text,
    random_words,
)
from tests.mee.conftest import COLOURS, SOUNDS, Spoken

BAG = TextConfig(encoder="bag")
SENTENCES = (*COLOURS, *SOUNDS, "red something", "something with drums", "something blue with rain")
LAYOUT = SPOKEN[0]
SCALE = Scale((0.1, 0.2, 0.0, -0.3), (0.5, 0.01, 1.0, 2.0), (0.6, 0.4, 0.0, 0.9), (0.1, 0.02, 1.0, 0.3))
SEEDS = st.integers(0, 2**31)
by_rule = pytest.mark.parametrize("layout", SPOKEN, ids=lambda layout: layout.missing)


def spoken_alone(count=20):
    """Clips that have words and nothing else."""
    generator, available = torch.Generator().manual_seed(0), torch.zeros(count, 4, dtype=torch.bool)
    available[:, 1] = True
    video = VideoEmbedding(torch.zeros(count, 15), available, random_words(available, generator, LAYOUT))
    return Gallery(tuple(f"c{n:05d}" for n in range(count)), video, ())


# ---- scores


@pytest.mark.parametrize("kind", [None, "flat", "certified", "fastscan"])
@pytest.mark.parametrize("queries", [2, 20])
def test_clips_of_words_alone_have_no_other_vectors(make_index, tmp_path, kind, queries):
    gallery, text = spoken_alone(), random_text(queries)
    video_index = make_index(gallery, kind and tmp_path / "index", kind or "flat", layout=LAYOUT)
    assert [each.vectors.shape for each in video_index.snapshot.partitions] == [(20, 0)]
    for precision in ("auto", "bfloat16"):
        assert_best(
            video_index.rank(text, 5, exact=True, precision=precision),
            loop_scores(text, gallery, LAYOUT), gallery.clip_ids, 5,
        )  # fmt: skip
    assert video_index.rank(Queries.of(text).only([True, False, True, True]), 5).ids == [[]] * queries
    assert kind is None or verify_index(tmp_path / "index") == []


@by_rule
@given(
    seed=SEEDS,
    shares=st.lists(st.floats(-2, 2).filter(lambda x: abs(x) > 0.01), min_size=2, max_size=4),
    left_out=st.lists(st.integers(0, 3), max_size=3),
    many=st.booleans(),
    kept=st.floats(0, 1),
)
def test_negative_terms_and_experts_without_a_text_side(make_index, layout, seed, shares, left_out, many, kept):
    """The best row counts for each term; logits of -inf; filters; the same in any company, to the bit."""
    gallery, count = random_gallery(40, seed, 0.5, doubled=0.3, layout=layout), 18 if many else 1
    text = random_text(len(shares) * count, seed)
    text.logits[:, left_out] = -torch.inf
    terms = [Queries.of(text[torch.arange(n, len(text.packed), len(shares))]) for n in range(len(shares))]
    single = [list(map(terms[n].part, [slice(q, q + 1) for q in range(count)])) for n in range(len(shares))]
    queries = [Queries.mixture(list(zip(shares, [each[q] for each in single]))) for q in range(count)]
    used = [m not in left_out for m in range(4)]
    own = text.logits.clone()
    text = TextEmbedding(text.packed, text.logits.masked_fill(text.logits.isneginf(), 0), text.offsets)
    parts = [
        loop_scores(text[torch.arange(n, len(own), len(shares))], gallery, layout, kept=used)
        for n in range(len(shares))
    ]
    covered = np.isfinite(parts[0])
    reference = (
        sum(share * np.where(covered, part, 0) for share, part in zip(shares, parts)) / np.abs(shares).sum()
    )
    reference = np.where(covered, reference, -np.inf)
    video_index, mask = make_index(gallery, layout=layout), np.random.default_rng(seed).random(40) < kept
    names = video_index.snapshot.segments[0].table.ids(np.arange(40))
    at = [gallery.clip_ids.index(name) for name in names]
    together = video_index.rank(Queries.stacked(queries), 9, where=[mask])
    assert_best(together, reference[:, at], names, 9, mask)
    alone = video_index.rank(queries[-1], 9, where=[mask])
    assert alone.ids[0] == together.ids[-1]
    np.testing.assert_array_equal(alone.scores[0], together.scores[-1][: len(alone.scores[0])])
    for hits in hits_of(together, Queries.stacked(queries), video_index):
        for hit in hits:
            assert sum(s.contribution for s in hit.experts.values()) == pytest.approx(hit.score, abs=1e-6)


@by_rule
@given(seed=SEEDS, count=st.sampled_from([1, 5, 20]), absent=st.lists(st.integers(0, 3), max_size=2))
def test_sentences_on_one_scale_are_those_of_plain_loops(make_index, layout, seed, count, absent):
    gallery = random_gallery(50, seed, layout=layout)
    gallery.video.available[:, absent] = False
    gallery = Gallery(gallery.clip_ids, gallery.video, ())
    kept = gallery.video.available.any(1)
    words = random_words(gallery.video.available, torch.Generator().manual_seed(seed), layout)
    video = VideoEmbedding(gallery.video.packed, gallery.video.available, words)[kept]
    gallery = Gallery(tuple(np.array(gallery.clip_ids)[kept.numpy()].tolist()), video, ())
    text, video_index = random_text(count, seed, 1.0), make_index(gallery, layout=layout)
    best = video_index.best(Queries.of(text))
    logits = text.logits.double().numpy().copy()
    for m in range(4):
        plain = TextEmbedding(text.packed, text.logits, torch.zeros_like(text.offsets))
        alone = loop_scores(plain, gallery, layout, kept=np.arange(4) == m).max(1)
        np.testing.assert_allclose(best[:, m], alone, atol=1e-6)
        logits[:, m] += (alone - SCALE.top[m]) / SCALE.top_spread[m] - np.log(SCALE.spread[m])
    found = video_index.rank(Queries.of(text).scaled(SCALE, best), 60)
    there = np.isfinite(logits).all(0)
    moved = TextEmbedding(
        text.packed, torch.tensor(np.where(there, logits, 0)), text.offsets + torch.tensor(SCALE.mean)
    )
    reference = loop_scores(moved, gallery, layout, kept=there)
    for wanted, names, scores in zip(reference, found.ids, found.scores):
        assert len(names) == len(gallery.clip_ids)
        own = wanted[[gallery.clip_ids.index(name) for name in names]]
        np.testing.assert_allclose(scores, own, atol=1e-4, rtol=1e-4)


def test_offsets_of_clips_count_their_words(make_index):
    gallery, bank = random_gallery(60, layout=LAYOUT), random_text(12)
    found = nnn_offsets(make_index(gallery, layout=LAYOUT), Queries.of(bank), 3, 0.5)
    nearest = np.sort(loop_scores(bank, gallery, LAYOUT), axis=0)[-3:].mean(0) / 2
    np.testing.assert_allclose([found[name] for name in gallery.clip_ids], nearest, atol=1e-5)
    offset = np.linspace(0, 1, 60)
    shifted = make_index(gallery, layout=LAYOUT, offsets={"method": "nnn"}, offset=offset)
    reference = loop_scores(bank, gallery, LAYOUT) - offset[np.argsort(np.argsort(gallery.clip_ids))]
    for text in (bank, bank[torch.arange(12).repeat(2)]):
        assert_best(shifted.rank(text, 7), reference[np.arange(len(text.packed)) % 12], gallery.clip_ids, 7)


def test_a_clip_as_a_query_is_the_mean_of_its_words(make_index):
    gallery = random_gallery(30, layout=LAYOUT)
    video_index = make_index(gallery, layout=LAYOUT)
    for row, name in enumerate(gallery.clip_ids):
        query = video_index.clip_query(name)
        for m in (1, 3):
            rows = gallery.video.words[LAYOUT.names[m]]
            own = rows.values[rows.offsets[row] : rows.offsets[row + 1]].double().numpy()
            assert np.isfinite(query.logits[0, 0, m]) == (len(own) > 0)
            mean = own.mean(0) / np.linalg.norm(own.mean(0)) if len(own) else np.zeros(LAYOUT.sizes[m])
            np.testing.assert_allclose(query.packed[0, 0, LAYOUT.slices[m]], mean, atol=1e-6)


# ---- requests


@pytest.fixture
def spoken(make_source, monkeypatch, tmp_path):
    """A source: colours by name are seen, every second clip names a sound, and one shows a line of text."""
    monkeypatch.setitem(ENCODERS, "bag", "tests.mee.conftest:BagOfWords")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    toy = make_source([f"v{number:02d}.mp4" for number in range(24)], missing=0.0)
    rng, names, said = np.random.default_rng(0), list(toy.clips.index), {}
    seen = {
        name: np.concatenate([rng.normal(size=(1, 1)), np.full((1, 4), 0.1) + 0.6 * np.eye(4)[[n % 4]]], 1)
        for n, name in enumerate(names)
    }
    for n, name in enumerate(names[1::2]):
        said[name] = [(0.5, 1.0, "something"), (2.0, 3.0, f"Something, with {SOUNDS[n % 4]} !")]
    streams = {
        "appearance": {name: rows.astype("f2") for name, rows in seen.items()},
        "motion": toy.streams["motion"],
    }
    dims = {"appearance": 5, "motion": 4, "speech": 0}
    made = {name: name for name in dims}
    return Spoken(streams, toy.clips, dims, made, {"appearance": ("", *COLOURS)}, said=said)


@pytest.fixture
def searcher(spoken, tmp_path):
    """An index on disk of a model without training."""
    model = make_model(spoken, BAG, sentences=SENTENCES)
    model.save_pretrained(tmp_path / "model")
    origin = Origin(str(tmp_path / "model"), fingerprint(tmp_path / "model"), "s")
    synchronise(tmp_path / "index", model, spoken, origin)
    return Searcher(VideoIndex.open(tmp_path / "index"), model)


def found_by(searcher, sentence=None, **fields):
    return searcher.search([Request(sentence=sentence, **fields)])[0]


def test_a_search_says_which_words_fit_and_when(searcher, spoken, capsys):
    assert searcher.video_index.snapshot.scale is not None
    hit = found_by(searcher, "something with rain")[0]
    said = hit.words["speech"]
    assert (said.start_s, said.end_s, said.text) == (2.0, 3.0, "Something, with rain !")
    assert hit.to_dict()["words"] == {"speech": {"start_s": 2.0, "end_s": 3.0, "text": "Something, with rain !"}}
    assert json.dumps(hit.to_dict())
    assert hit.experts["motion"].weight == 0
    quiet = found_by(searcher, "something red", only=("appearance",))
    assert all(not hit.words for hit in quiet)
    evil = replace(said, text="\u202eevil\n\x1b[31m" + "x" * 300)
    print_hits("", [replace(hit, words={"speech": evil})], searcher.modalities)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    table, words = out.split("#  at")
    assert ("-" in table, "speech" in words, "2.0" in words) == (True, True, True)


def test_words_are_a_filter_and_a_list(searcher, spoken):
    rain = [name for name, rows in spoken.said.items() if "rain" in rows[-1][2]]
    listed = found_by(searcher, said="with  rain")
    assert [hit.clip_id for hit in listed] == sorted(rain)
    assert {(hit.score, hit.words["speech"].text) for hit in listed} == {(0.0, "Something, with rain !")}
    assert [hit.rank for hit in listed] == list(range(1, len(rain) + 1))
    assert {hit.words["speech"].text for hit in found_by(searcher, said="SOMETHING", top=99)} == {"something"}
    asked = found_by(searcher, "something red", said="with rain")
    assert {hit.clip_id for hit in asked} == set(rain)
    assert {hit.words["speech"].text for hit in asked} == {"Something, with rain !"}
    assert [hit.score for hit in asked] == sorted([hit.score for hit in asked], reverse=True)
    for nothing in ("rai", "rain with", "with something"):
        assert found_by(searcher, said=nothing) == []
    videos = found_by(searcher, said="rain", by_video=True, top=2, where="start_s >= 0")
    assert [(each.rank, each.video, len(each.hits)) for each in videos] == [(1, rain[0], 1), (2, rain[1], 1)]
    assert found_by(searcher, said="rain", like=rain[0])[0].clip_id in rain[1:]
    with IndexWriter.open(searcher.video_index.snapshot.source[0]) as writer:
        writer.remove(rain[:1])
    assert searcher.refresh()
    assert [hit.clip_id for hit in found_by(searcher, said="with rain")] == sorted(rain[1:])


def test_weights_that_are_explained_are_those_of_hits(searcher):
    weights = searcher.encode(["something red"]).factors(np.array([True] * 3), "evidence")[0, 0]
    hit = found_by(searcher, "something red")[0]
    names = searcher.modalities
    assert weights.sum() == pytest.approx(1)
    assert {name: share.weight for name, share in hit.experts.items()} == pytest.approx(
        {name: weight for name, weight in zip(names, weights) if name in hit.experts}
    )


def test_words_are_listed_without_torch_and_pandas(searcher, tmp_path):
    code = "import sys; from scripts.search import main; main(sys.argv[1:]); "
    code += "print(*({'torch', 'pandas', 'pyarrow.compute'} & set(sys.modules)))"
    command = [sys.executable, "-c", code, tmp_path / "index", "--said", "with rain", "--json"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    *hits, loaded = done.stdout.splitlines()
    assert (len(hits), loaded) == (3, "")


def test_the_command_lists_words_with_their_times(searcher, tmp_path, capsys):
    index = str(tmp_path / "index")
    assert main([index, "--said", "with rain", "--top", "2"]) == 0
    out = capsys.readouterr().out.split()
    assert out[:3] == ["said", '"with', 'rain"']
    assert ("0:02.0" in out, out.count("speech")) == (True, 3)
    assert main([index, "something red", "--said", "with rain", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["words"]["speech"]["text"] for line in lines} == {"Something, with rain !"}
    assert {line["query"] for line in lines} == {"something red"}
    assert main([index, "--said", "of penguins"]) == 0
    assert "no hits" in capsys.readouterr().err
    assert main([index, "--written", "rain"]) == 1
    assert "no words of a stream 'text'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "phrase", "there"),
    [
        ("Good\tmorning, EVERYONE.", "good morning", True), ("don\u2019t stop", "dont stop", True),
        ("a concatenation", "cat", False), ("STRASSE", "stra\u00dfe", True),
        ("\u4f60\u597d\u5417", "\u4f60\u597d", True),
        ("state-of-the-art", "of the", True), ("\uff21\uff22\uff23", "abc", True), ("", "a", False),
    ],
)  # fmt: skip
def test_case_punctuation_and_white_space_do_not_count(text, phrase, there):
    assert (folded(phrase) in folded(text)) is there


def test_what_words_cannot_find_is_refused(searcher, spoken, says):
    refused = []
    for fields in ({"written": "x"}, {"said": " ?!"}, {"sentence": "red", "only": ("motion",)}, {}):
        with pytest.raises(InputError) as caught:
            found_by(searcher, **fields)
        refused.append(str(caught.value))
    with pytest.raises(InputError) as caught:
        found_by(searcher, "red", weights={"motion": 1.0})
    assert str(caught.value) == refused[2]
    says("\n".join(refused))
    with pytest.raises(InputError, match="reaches motion"):  # with a clip beside it, too
        found_by(searcher, "red", only=("motion",), like=spoken.clips.index[0])
    assert found_by(searcher, like=spoken.clips.index[0], only=("motion",))[0].experts["motion"].weight == 1


# ---- the scale of an index


def test_the_scale_is_measured_when_an_index_is_made_and_kept_while_clips_are_added(spoken, tmp_path):
    model, origin = make_model(spoken, BAG, sentences=SENTENCES), Origin("m", "0123456789ab", "s")
    names = list(spoken.clips.index)

    def made(count, **options):
        some = replace(spoken, clips=spoken.clips.iloc[:count])
        synchronise(tmp_path / "index", model, some, origin, **options)
        return VideoIndex.open(tmp_path / "index").snapshot

    assert made(0).scale is None
    first = made(20)
    expected = measure_scale(model, [encode_gallery(model, spoken, names[:20]).video])
    for name in ("mean", "spread", "top", "top_spread"):
        np.testing.assert_allclose(getattr(first.scale, name), getattr(expected, name), rtol=1e-4, atol=1e-6)
    assert made(22).scale == first.scale
    assert made(24, overwrite=True).scale != first.scale
    last = VideoIndex.open(tmp_path / "index").snapshot
    with IndexWriter.open(tmp_path / "index") as writer:
        writer.compact()
        assert writer.snapshot.scale == last.scale
    text = encode_captions(model, list(SENTENCES))
    videos = list(videos_of(last, torch.device("cpu")))
    every = encode_gallery(model, spoken, names).video
    for name in model.modalities:
        parts = torch.cat([similarities(model, text, part, name) for part in videos], 1)
        whole = similarities(model, text, every, name)
        torch.testing.assert_close(parts.sort(1).values, whole.sort(1).values, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda table, values: (table.slice(1), values), "vectors"),
        (lambda table, values: (table.slice(0, 1), values[:1]), "stream"),
        (lambda table, values: (table, values * 2), "norm above"),
        (lambda table, values: (table, values * np.nan), "norm above"),
    ],
    ids=["fewer-texts", "other-clips", "long", "not-finite"],
)
def test_words_that_an_index_cannot_keep_are_refused(change, what):
    gallery = random_gallery(9, layout=LAYOUT)
    entries = entries_of(gallery, LAYOUT)
    changed = Words(*change(entries.words["face"].table, entries.words["face"].values))
    for words, wrong in ({**entries.words, "face": changed}, what), ({}, "the index wants"):
        with pytest.raises(ValueError, match=wrong):
            replace(entries, words=words).checked(LAYOUT)
    with pytest.raises(ValueError, match="not those that its vectors were made from"):
        Entries.of(gallery, clip_rows(gallery), LAYOUT, {"motion": [None] * 9, "face": [None] * 9})
