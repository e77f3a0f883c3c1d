"""Ten slips that moved published figures, in the order of the field's complaints, and what would catch each."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from index.storage.entries import Entries
from mee.data.pairs import match_captions
from mee.encode import Gallery, encode_gallery
from mee.errors import InputError
from mee.evaluation.metrics import retrieval_metrics
from mee.evaluation.retrieval import Retrieval
from mee.layout import Layout
from mee.model import MEE, VideoEmbedding
from mee.protocols.table import load_benchmark
from mee.ranking.mixture import MixtureScores
from mee.ranking.rank import rank_queries
from scripts.evaluate import main
from tests.index.galleries import in_memory
from tests.mee.protocols.made_annotations import TEST_1KA, write_1ka_test
from tests.mee.whole_scores import WholeScores, fill_missing, positives_of, random_text, unit_rows

LAYOUT = Layout(("appearance", "motion", "audio", "face"), (5, 4, 3, 2))


@pytest.fixture
def clips():
    """Two clips of every availability pattern, junk where a stream is missing."""
    patterns = torch.tensor([p for p in product([False, True], repeat=4) if any(p)]).repeat(2, 1)
    rows = unit_rows(torch.Generator().manual_seed(0), 30, LAYOUT)
    return VideoEmbedding(fill_missing(rows, patterns, LAYOUT, torch.nan), patterns)


@pytest.fixture
def text():
    return random_text(torch.Generator().manual_seed(1), 6, LAYOUT, 3.0)


@pytest.fixture
def pairs(source):
    rows = [(video, f"{word} {video}") for video in source.clips["video"] for word in ("a dog", "rain", "drums")]
    return match_captions(pd.DataFrame(rows, columns=["video_id", "caption"]), source, partial=False)[0]


@pytest.mark.parametrize("size", [2, 10, 1000])
def test_a_a_constant_score_earns_chance_and_never_100(size):
    ranking = rank_queries(WholeScores(torch.zeros(size, size)), positives_of(torch.eye(size).bool()))
    figures = retrieval_metrics(ranking.t2v.rank)
    assert (figures["R@1"], figures["MeanR"]) == (0, (size + 1) / 2)


def test_b_the_order_of_gallery_and_queries_changes_nothing(model, source, pairs):
    ids = list(source.clips.index)
    columns = (pairs.captions, pairs.videos, pairs.clip_ids, pairs.ids)
    backwards = type(pairs)(*(column[::-1] for column in columns))
    one = Retrieval.of(model, encode_gallery(model, source, ids), pairs).measure()
    other = Retrieval.of(model, encode_gallery(model, source, ids[::-1]), backwards).measure()
    assert other.t2v.metrics == pytest.approx(one.t2v.metrics)
    assert other.v2t.metrics == pytest.approx(one.v2t.metrics)


def test_c_counts_are_the_protocols_or_the_result_says_partial(tmp_path):
    write_1ka_test(tmp_path / "MSRVTT_JSFUSION_test.csv", TEST_1KA[1:])
    with pytest.raises(InputError, match=r"999.*1,000"):
        load_benchmark("msrvtt-1ka", tmp_path)
    assert "999" in " ".join(load_benchmark("msrvtt-1ka", tmp_path, partial=True).shortfalls)


def test_d_what_was_trained_on_is_not_tested_on(tmp_path):
    (tmp_path / "captions.csv").write_text("video_id,caption,split\na,a dog,train\nb,rain,test\na,drums,test\n")
    for partial in (False, True):
        with pytest.raises(InputError, match="'a'"):
            load_benchmark("folder", tmp_path, partial=partial)


def test_e_the_index_finds_what_brute_force_finds_under_every_pattern(clips, text):
    ids = tuple(f"c{number:02d}" for number in range(30))
    table = pd.DataFrame({"video": ids, "start_s": 0.0, "end_s": 1.0}, index=pd.Index(ids, name="clip_id"))
    entries = Entries.of(Gallery(ids, clips, ()), table, LAYOUT)
    video_index = in_memory(entries, LAYOUT)
    assert len(video_index.snapshot.partitions) == 15
    scores = MixtureScores(text, clips, LAYOUT)
    query, clip = torch.cartesian_prod(torch.arange(6), torch.arange(30)).T
    order = np.argsort(-scores.pairs(query, clip).view(6, 30).numpy(), axis=1, kind="stable")
    assert video_index.rank(text, 30).ids == [[ids[row] for row in rows] for rows in order]


@pytest.mark.parametrize("removed", LAYOUT.names)
def test_f_dropping_a_stream_at_test_is_scoring_with_the_mask(clips, text, removed):
    masked = clips.available.clone()
    masked[:, LAYOUT.names.index(removed)] = False
    some = masked.any(1)
    dropped = MixtureScores(text, clips, LAYOUT, removed=(removed,)).block(slice(0, 6))
    rescored = MixtureScores(text, VideoEmbedding(clips.packed[some], masked[some]), LAYOUT).block(slice(0, 6))
    torch.testing.assert_close(dropped[:, some], rescored)


def test_g_a_second_process_of_a_launch_adds_no_rows_and_no_output(tmp_path, monkeypatch, capsys):
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    result = tmp_path / "result.json"
    assert main(["store", "captions.csv", "model", "--json", "--result", str(result)]) == 0
    out, err = capsys.readouterr()
    assert (out, result.exists()) == ("", False)
    assert "one process" in err


def test_h_captions_that_repeat_share_their_ranks_and_add_no_rows(model, source):
    table = pd.DataFrame({"video_id": ["v00.mp4", "v01.mp4", "v02.mp4"], "caption": ["a dog", "a dog", "rain"]})
    pairs, _ = match_captions(table, source, partial=False)
    measured = Retrieval.of(model, encode_gallery(model, source, pairs.gallery), pairs).measure(answers=True)
    rank_of = dict(zip(measured.answers.query_ids, measured.answers.rank.tolist(), strict=True))
    assert rank_of.keys() == {"1", "2", "3"}
    assert rank_of["1"] != rank_of["2"]  # one sentence, two right clips
    assert (measured.ranking.v2t.rank % 1 == 0.5).sum() == 2  # tied with the other clip's same words


def test_i_conventions_one_and_two_agree_at_r1_and_differ_elsewhere():
    right = torch.arange(20).repeat_interleave(3)[:, None] == torch.arange(20)
    scores = WholeScores(0.5 * right + torch.rand(60, 20, generator=torch.Generator().manual_seed(0)))
    one, two = (
        retrieval_metrics(rank_queries(scores, positives_of(right), v2t=convention).v2t.rank)
        for convention in ("closest", "video")
    )
    assert 0 < one["R@1"] == two["R@1"] < 100
    assert one["MeanR"] > two["MeanR"]


@pytest.mark.parametrize(
    "change", [lambda weights: weights.update(extra=torch.zeros(1)), lambda weights: weights.pop("mixture.bias")]
)
def test_j_a_checkpoint_with_other_keys_does_not_load(model, tmp_path, change):
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="the weights do not fit"):
        MEE.from_pretrained(tmp_path)
