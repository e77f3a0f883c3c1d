"""One ranking summed up: figures, curve, histogram, right answers, best and worst queries, the rank file."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.errors import InputError
from mee.evaluation.measure import EXAMPLES, Names, direction_of, measure_scores, shared_captions, write_ranks
from mee.evaluation.metrics import bootstrap_intervals, retrieval_metrics
from mee.ranking.rank import CONVENTIONS, Ranks, rank_queries
from tests.mee.whole_scores import WholeScores, expected_ranks, positives_of


def names_of(queries, count, clips=None):
    return Names(
        query_ids=[f"q{n}" for n in range(queries)],
        captions=[f"caption {n}" for n in range(queries)],
        clip_ids=[f"c{n}" for n in range(count)],
        clips=clips,
    )


def problem(seed):
    """Few distinct scores, captions of a video side by side, some queries without a right answer."""
    generator = torch.Generator().manual_seed(seed)
    queries, clips = torch.randint(1, 16, (2,), generator=generator).tolist()
    matrix = torch.randint(4, (queries, clips), generator=generator) / 4
    right = torch.rand(queries, clips, generator=generator) < 0.2
    right[-1, int(torch.randint(clips, (), generator=generator))] = True
    return matrix, right


def measured_of(matrix, right, names=None, **options):
    names = names or names_of(*matrix.shape)
    return measure_scores(WholeScores(matrix), positives_of(right), names, **options)


@given(seed=st.integers(0, 2**31), words=st.lists(st.sampled_from("abc"), min_size=15, max_size=15))
def test_shared_captions_are_those_whose_text_another_row_has_for_another_clip(seed, words):
    right = problem(seed)[1]
    rows = [(words[query], set(clips.nonzero().flatten().tolist())) for query, clips in enumerate(right)]
    shared = sum(any(text == own and clips - mine for text, clips in rows) for own, mine in rows if mine)
    assert shared_captions(words, positives_of(right)) == shared


@given(st.integers(0, 2**31))
def test_every_ranked_query_has_its_best_right_clip_and_first_answers_and_examples_go_by_rank(seed):
    matrix, right = problem(seed)
    measured = measured_of(matrix, right)
    answers, ranked = measured.answers, right.any(1).nonzero().flatten().tolist()
    assert answers.query_ids == [f"q{query}" for query in ranked]
    assert measured.ranking.t2v.rank.equal(expected_ranks(matrix[ranked], right[ranked]))
    for row, query in enumerate(ranked):
        own = right[query].nonzero().flatten().tolist()
        assert int(answers.right[row]) == max(own, key=lambda clip: (matrix[query, clip].item(), -clip))
        assert answers.right_scores[row] == matrix[query, own].max()
        order = sorted(range(matrix.shape[1]), key=lambda clip: (-matrix[query, clip].item(), clip))[:10]
        assert answers.top.candidate[row].tolist() == order
        assert answers.top.score[row].equal(matrix[query, order])
    ranks = answers.rank.tolist()
    for examples, sign in ((answers.examples(descending=False), 1), (answers.examples(descending=True), -1)):
        rows = sorted(range(len(ranks)), key=lambda row: (sign * ranks[row], row))[:EXAMPLES]
        for query, row in zip(examples, rows, strict=True):
            assert (query.query_id, query.rank) == (answers.query_ids[row], ranks[row])
            assert query.caption == f"caption {query.query_id[1:]}"
            assert query.right.clip_id == f"c{int(answers.right[row])}"
            assert query.right.score == answers.right_scores[row]
            assert [clip.clip_id for clip in query.top] == [f"c{n}" for n in answers.top.candidate[row]]
            assert [clip.score for clip in query.top] == answers.top.score[row].tolist()


@pytest.mark.parametrize("v2t", CONVENTIONS)
def test_directions_are_those_of_the_ranking(v2t):
    matrix = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))
    right = torch.eye(3).bool().repeat_interleave(2, dim=0)
    measured = measure_scores(WholeScores(matrix), positives_of(right), v2t=v2t, resamples=20)
    ranking = rank_queries(WholeScores(matrix), positives_of(right), v2t=v2t)
    assert measured.t2v == direction_of(ranking.t2v, resamples=20)
    assert measured.v2t == direction_of(ranking.v2t, resamples=20)
    assert measured.v2t.candidates == {"closest": 6, "video": 3, "each": 6}[v2t]
    assert measured.v2t.queries == {"closest": 3, "video": 3, "each": 6}[v2t]
    assert measured.t2v.intervals.keys() == measured.t2v.metrics.keys()


@given(st.integers(0, 2**31), st.sampled_from(list(CONVENTIONS)))
def test_the_rank_of_every_query_is_kept_in_an_order_that_depends_on_the_captions_alone(seed, v2t):
    generator = np.random.default_rng(seed)
    owner = np.sort(generator.integers(0, 6, 12))
    matrix, right = torch.rand(12, 6), torch.from_numpy(owner)[:, None] == torch.arange(6)
    names = names_of(12, 6)
    measured = measured_of(matrix, right, names, v2t=v2t)
    clips = generator.permutation(6)  # another store lists and names the clips otherwise
    captions = np.concatenate([np.flatnonzero(owner == clip) for clip in clips])
    ids, texts = ([texts[n] for n in captions] for texts in (names.query_ids, names.captions))
    other = Names(ids, texts, [f"x{n}" for n in clips])
    again = measured_of(matrix[captions][:, clips], right[captions][:, clips], other, v2t=v2t)
    assert measured.digest == again.digest
    for way in ("t2v", "v2t"):  # within a clip, `each` has its captions by score
        mine, theirs = ([sorted(part) for part in getattr(side, way).ranks] for side in (measured, again))
        assert mine == theirs
    of_id = dict(zip(names.query_ids, measured.ranking.t2v.rank.tolist()))
    groups = sorted(sorted(names.query_ids[n] for n in np.flatnonzero(owner == clip)) for clip in set(owner))
    assert measured.t2v.ranks == tuple(tuple(of_id[name] for name in group) for group in groups)
    renamed = Names(names.query_ids, [*names.captions[:-1], "another"], names.clip_ids)
    assert measured_of(matrix, right, renamed).digest != measured.digest


def test_answers_say_where_to_look_as_far_as_that_is_known():
    clips = pd.DataFrame(
        {"video": ["film.mkv", "other.mkv"], "start_s": [10, 0], "end_s": [20.5, 3]}, index=["c1", "elsewhere"]
    )
    matrix, right = torch.tensor([[0.1, 0.9]]), torch.tensor([[False, True]])
    query = measured_of(matrix, right, names_of(1, 2, clips)).answers.examples(descending=False)[0]
    assert query.right.model_dump() == query.top[0].model_dump()
    assert query.right.video == "film.mkv"
    assert (query.right.start_s, query.right.end_s) == (10.0, 20.5)
    assert query.right.score == pytest.approx(0.9)
    assert (query.top[1].video, query.top[1].start_s, query.top[1].end_s) == (None, None, None)


@st.composite
def rank_lists(draw):
    """Expected ranks, whole or half, and the number of candidates."""
    candidates = draw(st.integers(1, 40) | st.integers(1, 3000))
    twice = draw(st.lists(st.integers(2, 2 * candidates), min_size=1, max_size=30))
    return [each / 2 for each in twice], candidates


def ranks_of(ranks, candidates):
    rank = torch.tensor(ranks, dtype=torch.float64)
    return Ranks(torch.arange(len(rank)), rank, 1 / rank.sqrt(), candidates)


def summed_up(ranks, candidates, **options):
    return direction_of(ranks_of(ranks, candidates), **{"resamples": 0, **options})


def span_of(name):
    low, _, high = name.partition("-")
    return int(low), int(high or low)


@given(rank_lists())
def test_figures_curve_and_histogram_are_those_of_the_ranks(case):
    ranks, candidates = case
    of_ranks, direction = ranks_of(*case), direction_of(ranks_of(*case), resamples=7)
    assert (direction.queries, direction.candidates) == (len(ranks), candidates)
    assert direction.metrics == retrieval_metrics(of_ranks.rank, of_ranks.gain)
    assert direction.metrics["MedR"] == np.median(ranks)
    assert direction.intervals == bootstrap_intervals(of_ranks.rank, of_ranks.gain, resamples=7)

    depths, recall = zip(*direction.recall)  # the curve rises to 100
    assert list(depths) == sorted(set(depths))
    assert (depths[0], direction.recall[-1]) == (1, (candidates, 100))
    assert list(recall) == sorted(recall)
    for depth, value in direction.recall:
        assert value == 100 * np.mean(np.asarray(ranks) <= depth)
    known = dict(direction.recall)
    for depth in (1, 5, 10, 50):
        assert known.get(depth, 100) == direction.metrics[f"R@{depth}"]
        assert (depth in known) == (depth <= candidates)

    spans = [
        span_of(name) for name, _ in direction.histogram
    ]  # every query counts once, and all ranks are covered
    assert (spans[0][0], spans[-1][1]) == (1, candidates)
    assert [low for low, _ in spans[1:]] == [high + 1 for _, high in spans[:-1]]
    assert sum(count for _, count in direction.histogram) == len(ranks)
    for (low, high), (_, count) in zip(spans, direction.histogram):
        assert count == sum(low <= np.ceil(rank) <= high for rank in ranks)
    counts = [count for _, count in direction.histogram]
    assert ({*map(type, depths)}, {*map(type, recall)}, {*map(type, counts)}) == ({int}, {float}, {int})


def test_a_curve_is_exact_and_read_at_round_numbers_and_bins_double():
    """A third in float32 would differ from R@1 in the eighth digit."""
    assert summed_up([1, 2, 3], 10).recall[:3] == ((1, 100 * (1 / 3)), (2, 100 * (2 / 3)), (3, 100))
    thousand = summed_up([1], 1000)
    depths = "1 2 3 5 7 10 20 30 50 70 100 200 300 500 700 1000"
    assert " ".join(str(depth) for depth, _ in thousand.recall) == depths
    names = "1 2 3-4 5-8 9-16 17-32 33-64 65-128 129-256 257-512 513-1000"
    assert " ".join(name for name, _ in thousand.histogram) == names
    for power in range(1, 41):  # powers of two close their bin
        histogram = dict(summed_up([2**power, 2**power + 1], 2 ** (power + 2)).histogram)
        last = 2 ** (power - 1) + 1
        assert histogram[str(last) if power == 1 else f"{last}-{2**power}"] == 1
        assert histogram[f"{2**power + 1}-{2 ** (power + 1)}"] == 1


# ---- the rank file

IDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
COLUMNS = [f"{what}_{k}" for what in ("top", "score") for k in range(1, 11)]


def answers_of(query_ids, clip_ids, kind, seed):
    generator = torch.Generator().manual_seed(seed)
    size = (len(query_ids), len(clip_ids))
    matrix = torch.randn(size, generator=generator, dtype=kind) * 10.0 ** (seed % 60 - 30)
    right = torch.zeros(size, dtype=torch.bool)
    right[:, 0] = True
    names = Names(query_ids=query_ids, captions=None, clip_ids=clip_ids)
    return measure_scores(WholeScores(matrix), positives_of(right), names).answers


def read_ranks(path, kind):
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    scores = dict.fromkeys(COLUMNS[10:], str(kind).removeprefix("torch."))
    ids = dict.fromkeys(["query_id", "right_clip_id", *COLUMNS[:10]], str)  # "00" is no number
    types = {"rank": float, **ids, **scores}
    return pd.read_csv(path, dtype=types, keep_default_na=False, na_values=dict.fromkeys(scores, ""))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@given(
    query_ids=st.lists(IDS, min_size=1, max_size=5, unique=True),
    clip_ids=st.lists(IDS, min_size=1, max_size=13, unique=True),
    seed=st.integers(0, 2**31),
)
def test_pandas_reads_what_was_measured(ending, kind, query_ids, clip_ids, seed, tmp_path_factory):
    answers = answers_of(query_ids, clip_ids, kind, seed)
    path = tmp_path_factory.mktemp("made") / f"ranks.{ending}"
    write_ranks(path, answers)
    with pytest.raises(InputError, match="a name is no text that UTF-8 knows"):  # the file stays as it was
        write_ranks(path, answers_of(["q", "\ud800"], ["a", "b"], torch.float32, 0))
    with pytest.raises(InputError, match="nowhere"):
        write_ranks(path.parent / "nowhere" / path.name, answers)
    table = read_ranks(path, kind)
    assert list(table.columns) == ["query_id", "rank", "right_clip_id", *COLUMNS]
    assert table["query_id"].astype(str).tolist() == query_ids
    assert table["rank"].tolist() == answers.rank.tolist()
    assert table["right_clip_id"].astype(str).tolist() == [clip_ids[0]] * len(query_ids)
    for k in range(10):
        found, scores = table[f"top_{k + 1}"], table[f"score_{k + 1}"].to_numpy()
        if k < len(clip_ids):
            assert found.astype(str).tolist() == [clip_ids[clip] for clip in answers.top.candidate[:, k]]
            assert (scores == answers.top.score[:, k].numpy()).all()
        else:
            assert ((found == "") | found.isna()).all()
            assert np.isnan(scores).all()
    assert list(path.parent.iterdir()) == [path]
