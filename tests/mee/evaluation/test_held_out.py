"""What an evaluation may rank, and what its result states of the protocol, the rules and the normalisation."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mee.errors import InputError
from mee.evaluation.config import GRID, EvaluateConfig, NormaliseConfig
from mee.evaluation.evaluate import protocol_facts, rules_of
from mee.evaluation.held_out import gallery_videos, held_out_pairs
from mee.evaluation.result import Normalisation
from mee.protocols.protocol import Benchmark
from mee.protocols.table import PROTOCOLS
from mee.ranking.normalise import qb_norm
from mee.ranking.rank import CONVENTIONS
from tests.mee.whole_scores import WholeScores, expected_ranks, whole_matrix


def table(source, splits=None):
    frame = pd.DataFrame({"video_id": source.clips["video"], "caption": "words"}).reset_index(drop=True)
    return frame if splits is None else frame.assign(split=splits)


def record(source, train, val):
    videos = list(source.clips["video"])
    return {"videos": {"train": videos[:train], "val": videos[train : train + val]}}


GONE = ["gone.mp4", "words", "train"]
SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
UNNAMED = ["train"] * 9 + ["test"] * 3  # what training held out is among "train"


def held(source, splits=SPLITS, train=6, val=3, *, split="test", partial=False, more=(), **changes):
    """Of the videos of a source in these splits, and of one more, by a model that learnt the first ones."""
    frame = table(source, splits)
    if more:
        frame.loc[len(frame)] = more
    return held_out_pairs(frame, source, {**record(source, train, val), **changes}, split=split, partial=partial)


@pytest.mark.parametrize(
    ("splits", "train", "changes", "split", "expected", "selected"),
    [
        (SPLITS, 6, {}, None, ("test", 9, 12), False),
        (SPLITS, 6, {}, "val", ("val", 6, 9), True),
        (SPLITS, 6, {"selects": False}, "val", ("val", 6, 9), False),
        (None, 9, {}, None, ("val", 9, 12), True),
        (UNNAMED, 6, {}, "val", ("val", 6, 9), True),
    ],
)
def test_which_videos_are_ranked(source, splits, train, changes, split, expected, selected):
    held_out = held(source, splits, train, split=split, **changes)
    name, first, end = expected
    assert (held_out.split, held_out.selected) == (name, selected)
    assert list(held_out.pairs.videos) == list(source.clips["video"][first:end])
    assert ["selected on these videos" in note for note in held_out.notes] == [True] * selected


@pytest.mark.parametrize(
    ("splits", "options", "says"),
    [
        (SPLITS, {"train": 10, "val": 0}, r"trained on 1 videos of split 'test', 'v09\.mp4'"),
        (None, {"train": 9}, "no column 'split'"),
        (None, {"videos": {}, "split": None}, "no caption is in split 'val'"),
        (UNNAMED, {"split": "val", "videos": {"train": [], "val": GONE[:1]}, "more": GONE}, r"gone\.mp4 \(not"),
    ],
)
def test_what_cannot_be_ranked_is_refused(source, splits, options, says):
    with pytest.raises(InputError, match=says):
        held(source, splits, **options)


def test_what_is_left_out_makes_the_result_partial(source):
    held_out = held(source, partial=True, more=["gone.mp4", "words", "test"])
    assert held_out.left_out == ("gone.mp4",)
    assert "partial: left out 1" in held_out.notes[0]
    held_out = held(source, more=GONE)  # captions of other splits need no clips
    assert (held_out.left_out, len(held_out.pairs)) == ((), 3)
    assert "content of files was not compared" in held_out.unchecked
    unknown = held_out_pairs(table(source, SPLITS), source, {}, split=None, partial=False)
    assert "no record of its training videos" in unknown.unchecked
    source.clips = source.clips.assign(file_sha256=[f"{number:064x}" for number in range(0, 12 * 2**200, 2**200)])
    seen, same = {"train": ["elsewhere.mp4"], "val": []}, source.clips["file_sha256"]["v10.mp4"][:16]
    other, same = ({"train": {"elsewhere.mp4": digits}} for digits in ("f" * 16, same))
    assert held(source, videos=seen, contents=other).unchecked == ""
    with pytest.raises(InputError, match=r"'v10\.mp4' is 'elsewhere\.mp4'"):  # a file under two names
        held(source, videos=seen, contents=same)
    assert held(source, videos=seen, contents=same, split="val").pairs


def test_a_model_selected_on_test_says_so_on_test_and_not_elsewhere(source):
    names = list(source.clips["video"])
    chosen = {"videos": {"train": names[:6], "val": [], "test": names[9:]}, "selected_on": "test"}
    held_out = held(source, **chosen)
    assert held_out.selected
    assert "selected on this very test (--select-on-test)" in held_out.notes[0]
    assert held(source, split="val", **chosen).notes == ()
    assert not held(source, selects=False, **chosen).selected


def test_a_benchmarks_ids_are_known_in_another_store(make_source):
    source = make_source([f"test/v{number}.mp4" for number in range(4)])
    frame = table(source, "test")
    elsewhere = {"videos": {"train": ["all/v2.webm", "all/v9.webm"], "val": [], "test": ["all/v3.webm"]}}
    settings = {"split": "test", "partial": False}
    with pytest.raises(InputError, match=r"trained on 1 videos of split 'test', 'test/v2\.mp4'"):
        held_out_pairs(frame, source, elsewhere, protocol="msrvtt-full", **settings)
    assert held_out_pairs(frame.drop(index=2), source, elsewhere, protocol="msrvtt-full", **settings).selected
    own = held_out_pairs(frame, source, elsewhere, **settings)
    assert (own.selected, len(own.pairs)) == (False, 4)


# ---- the gallery of a named protocol


def benchmark(*video_ids, name="msvd", **fields):
    table = pd.DataFrame(columns=["query_id", "video_id", "caption", "split"])
    return Benchmark(protocol=PROTOCOLS[name], table=table, gallery=video_ids, **{"train_list": None, **fields})


def test_the_gallery_is_the_protocols_in_its_order_and_may_name_clips(make_source):
    source = make_source(["clips/b.mp4", "a.webm", "deep/er/c.avi", "another.mp4"])
    found, left_out = gallery_videos(benchmark("c", "a", "b"), source, partial=False)
    assert list(found.items()) == [("c", "deep/er/c.avi"), ("a", "a.webm"), ("b", "clips/b.mp4")]
    assert left_out == ()
    source, clip_id = make_source(["film.mkv"], clips_of_video=3), "film.mkv#t=10,20"
    for spelled in (clip_id, "film#t=10.0,20"):
        assert gallery_videos(benchmark(spelled), source, partial=False) == ({spelled: clip_id}, ())
    with pytest.raises(InputError, match=r"one video, a\.mp4, for two of the test: a\.mov and v_a"):
        gallery_videos(benchmark("b", "a.mov", "v_a"), make_source(["a.mp4", "b.mp4"]), partial=True)


def test_a_video_that_is_missing_is_refused_or_reported(make_source):
    source = make_source(["a.mp4", "b.mp4"], failed={"c.mp4": "no picture"})
    with pytest.raises(InputError, match=r"2 of 4 captioned videos .* c \(no picture\); d \(not in the store\)"):
        gallery_videos(benchmark("a", "b", "c", "d"), source, partial=False)
    found, left_out = gallery_videos(benchmark("a", "c", "b", "d"), source, partial=True)
    assert (list(found.values()), left_out) == (["a.mp4", "b.mp4"], ("c", "d"))


def named_as_its_video(clips):
    clips = clips.drop(clips.index[1:3])  # of a.mp4 the first clip remains
    return clips.set_axis(["a.mp4", *clips.index[1:]])


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize(
    ("videos", "clips", "change", "ids", "says"),
    [
        ("ab", 3, named_as_its_video, "ab", r"1 of its 2 .* \(b.mp4#t=0,10, for one\); .*--clip"),
        ("xy", 1, lambda table: table.assign(video="a.mp4"), "a", r"1 of its 1 .* \(x.mp4, for one"),
        ("a", 3, lambda table: table.iloc[1:2], "a", r"1 of its 1 .* \(a.mp4#t=10,20, for one"),
    ],
    ids=["named as its video", "two clips of one video", "the others failed"],
)
def test_a_video_that_is_cut_into_clips_is_refused(make_source, videos, clips, change, ids, says, partial):
    source = make_source([f"{name}.mp4" for name in videos], clips_of_video=clips, failed={"a.mp4": "timed out"})
    source.clips = change(source.clips)
    with pytest.raises(InputError, match=says.replace(".*", "test videos cut into clips", 1)):
        gallery_videos(benchmark(*ids), source, partial=partial)
    if ids == "ab":
        assert gallery_videos(benchmark("a"), source, partial=partial) == ({"a": "a.mp4"}, ())


# ---- normalisation, and what a result states


@pytest.mark.parametrize("v2t", CONVENTIONS)
def test_rules_are_said_in_words(v2t):
    config = EvaluateConfig(captions=Path("captions.csv"), v2t=v2t)
    rules = rules_of(config, Normalisation(method="dsl"))
    assert rules.ties == "expected rank"
    assert rules.v2t == CONVENTIONS[v2t]
    assert rules.normalisation.method == "dsl"
    assert rules.intervals == "95 % bootstrap over queries, 1,000 resamples, seed 0"
    assert rules_of(replace(config, bootstrap=0), Normalisation()).intervals == ""


def test_a_whole_protocol_is_stated_with_its_counts():
    said = {
        "without_stream": ("v3",),
        "streams": {"audio": 990},
        "train_list": "9k",
        "digest": "ab",
        "judgments": 7,
    }
    files = {"test": "test.csv sha256:00"}
    facts = protocol_facts(benchmark(name="lsmdc", files=files), split="test", queries=1000, gallery=1000, **said)
    names = {"name": "lsmdc", "title": PROTOCOLS["lsmdc"].title, "split": "test", "query_rule": "every caption"}
    numbers = {"queries": 1000, "expected_queries": 1000, "gallery": 1000, "expected_gallery": 1000}
    nothing = {"partial": False, "missing": (), "left_out": ()}
    assert facts.model_dump() == {**said, **names, **numbers, **nothing, "files": files}


COUNTED = ("997 queries, and lsmdc has 1,000", "1,001 clips, and lsmdc has 1,000")


@pytest.mark.parametrize(
    ("name", "split", "fields", "said", "missing"),
    [
        ("lsmdc", "test", {"shortfalls": ("a list is short",)}, {}, ("a list is short",)),
        ("lsmdc", "test", {}, {"missing": ("3 queries have no scores",)}, ("3 queries have no scores",)),
        ("lsmdc", "test", {}, {"left_out": ["v1"]}, ()),
        ("lsmdc", "test", {}, {}, COUNTED),  # without an explanation
        ("lsmdc", "val", {"shortfalls": ("the test list is short",)}, {}, ()),
        ("lsmdc", "val", {}, {"left_out": ["v1"]}, ()),
        ("folder", "test", {}, {}, ()),  # a protocol without counts takes any
    ],
)
def test_whatever_is_missing_makes_a_result_partial(name, split, fields, said, missing):
    facts = protocol_facts(benchmark(name=name, **fields), split=split, queries=997, gallery=1001, **said)
    left_out = tuple(said.get("left_out", ()))
    assert (facts.missing, facts.left_out, facts.partial) == (missing, left_out, bool(missing or left_out))
    expected = (1000, 1000) if (name, split) == ("lsmdc", "test") else (None, None)
    assert (facts.expected_queries, facts.expected_gallery) == expected


BANK, HALF = {"bank": "9 training captions"}, {"alpha": 0.5}
METHODS = [  # settings, whether they need a bank, what they state
    ({}, False, {}),
    ({"method": "qb-norm", "beta": 3.0}, True, BANK | {"parameters": {"beta": 3}, "uses_test_queries": False}),
    *(
        ({"method": "nnn", "neighbours": k, **HALF}, True, BANK | {"parameters": {"neighbours": used, **HALF}})
        for k, used in ((2, 2), (128, 9))
    ),
    ({"method": "dsl", "beta": 4.0}, False, {"parameters": {"beta": 4}, "uses_test_queries": True}),
]


@pytest.mark.parametrize(("settings", "needs_bank", "stated"), METHODS)
def test_a_normalisation_uses_its_settings_and_states_them(settings, needs_bank, stated):
    config = NormaliseConfig(**settings)
    scores, bank = (WholeScores(torch.rand(n, 4, generator=torch.Generator().manual_seed(n))) for n in (3, 9))
    matrix, method = scores.matrix, settings.get("method", "none")
    offsets = config.offsets(bank if needs_bank else None)
    if method == "qb-norm":
        expected = qb_norm(bank, 3.0)
        matrix = matrix - expected.active[matrix.argmax(1)][:, None] * expected.offset
    elif method == "nnn":
        used = stated["parameters"]["neighbours"]
        matrix = matrix - 0.5 * bank.matrix.sort(0, descending=True).values[:used].mean(0)
    elif method == "dsl":
        matrix = matrix * (4 * matrix).softmax(0)
    torch.testing.assert_close(whole_matrix(config.apply(scores, offsets)), matrix)
    assert config.needs_bank is needs_bank
    assert config.facts("9 training captions", 9) == Normalisation(**{"method": method} | stated)
    if method == "none":
        assert offsets is None
        assert config.apply(scores, offsets) is scores
    for none in (None, WholeScores(torch.empty(0, 4))):
        if needs_bank:
            with pytest.raises(InputError, match=f"^{method} needs a bank of training captions.*--bank"):
                config.offsets(none)


def held_out_case(helps, tried=()):
    """Ranks of five captions a clip, and their clips; hubs of a bank are those of these captions if it helps."""
    rng = np.random.default_rng(0)
    hub, own, bank = 0.5 * rng.random(40), np.repeat(np.arange(40), 5), 0.1 * rng.normal(size=(600, 40))
    matrix = 0.2 * (own[:, None] == np.arange(40)) + helps * hub + 0.1 * rng.normal(size=(200, 40))
    scores, bank = (WholeScores(torch.from_numpy(table).float()) for table in (matrix, bank + hub))

    def ranks(config):
        tried.append(config)
        normalised = whole_matrix(config.apply(scores, config.offsets(bank)))
        return expected_ranks(normalised, torch.from_numpy(own)[:, None] == torch.arange(40)).numpy()

    return ranks, own


@pytest.mark.parametrize("method", GRID)
def test_parameters_are_fitted_where_they_help_and_none_are_where_they_do_not(method):
    config, (ranks, own) = NormaliseConfig(method=method), held_out_case(True, tried := [])
    chosen = config.fitted(ranks, own)
    assert len(tried) == len(set(tried)) == 1 + math.prod(map(len, GRID[method].values()))
    best = max((1 / ranks(each)).mean() for each in list(tried))
    assert (1 / ranks(chosen)).mean() == best > (1 / ranks(NormaliseConfig())).mean()
    assert (chosen.method, chosen.fitted(ranks, own)) == (method, chosen)
    assert config.fitted(*held_out_case(False, [])).method == "none"
    draws = np.random.default_rng(0)
    assert config.fitted(lambda _: draws.choice([1.0, 2.0], 8), np.arange(8) % 2).method == "none"


def test_what_is_given_is_not_fitted(says):
    given = NormaliseConfig(method="nnn", alpha=0.5)
    assert given.fitted(*held_out_case(True, [])).alpha == 0.5
    said = []
    for config, flags in ((given, "--normalise.neighbours"), (NormaliseConfig(method="dsl"), "--normalise.beta")):
        with pytest.raises(InputError, match=f"no validation captions here .* give {flags}, or") as error:
            config.offsets(WholeScores(torch.ones(1, 4)))
        said.append(str(error.value))
    says("\n".join(said))
