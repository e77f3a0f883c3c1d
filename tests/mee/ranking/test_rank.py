"""Ranks of blocks are those of plain loops and SciPy; figures are torchmetrics', where nothing ties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMRR, RetrievalNormalizedDCG

import mee.ranking.scores
from mee.evaluation.metrics import retrieval_metrics
from mee.layout import Layout
from mee.model import TextEmbedding, VideoEmbedding
from mee.ranking.mixture import MixtureScores
from mee.ranking.rank import CONVENTIONS, rank_queries
from mee.ranking.scores import Positives
from tests.mee.whole_scores import WholeScores, expected_ranks, positives_of, random_text, random_video

SEEDS = st.integers(0, 2**31)


def problem(seed, margin):
    """Scores of few values, so that many tie; captions of one video side by side, each video with some."""
    generator = torch.Generator().manual_seed(seed)

    def number(low, high):
        return int(torch.randint(low, high, (), generator=generator))

    candidates, videos = number(2, 9), number(1, 7)
    owner = torch.randperm(candidates, generator=generator)[:videos]
    rows = [int(video) for video in owner for _ in range(number(1, 4))]
    positive = torch.zeros(len(rows), candidates, dtype=torch.bool)
    positive[torch.arange(len(rows)), torch.tensor(rows)] = True
    if number(0, 2):  # every video is cut in two: its captions have two right answers
        positive = torch.cat([positive, positive], dim=1)
    matrix = torch.randint(0, 4, positive.shape, generator=generator) * (3 * margin or 1)
    return matrix.float(), positive


def scipy_rank(scores, best, right):
    """Place of the best right answer among the wrong ones, the mean over ties."""
    wrong = [-float(score) for score, own in zip(scores, right) if not own]
    return rankdata([-float(best), *wrong], method="average")[0]


def loop_gain(scores, right):
    own = sorted((float(score) for score, own in zip(scores, right) if own), reverse=True)
    ranks = [scipy_rank(scores, score, right) + place for place, score in enumerate(own)]
    ideal = sum(1 / math.log2(2 + place) for place in range(min(len(own), 10)))
    return sum(1 / math.log2(1 + each) for each in ranks if each <= 10) / ideal


def loop_video(matrix, positive, candidate):
    videos = {tuple(row.nonzero().flatten().tolist()) for row in positive}
    best = dict.fromkeys(videos, -math.inf)
    for score, row in zip(matrix[:, candidate].tolist(), positive):
        video = tuple(row.nonzero().flatten().tolist())
        best[video] = max(best[video], score)
    own = max(score for video, score in best.items() if candidate in video)
    wrong = [score for video, score in best.items() if candidate not in video]
    return 1 + sum(score > own for score in wrong) + sum(score == own for score in wrong) / 2


def loop_each(matrix, positive, candidate):
    column = matrix[:, candidate].tolist()
    for query in positive[:, candidate].nonzero().flatten().tolist():
        others = column[:query] + column[query + 1 :]
        yield 1 + sum(s > column[query] for s in others) + sum(s == column[query] for s in others) / 2


@pytest.fixture(scope="module", params=[(2**22, 128), (8, 1)], ids=["one block", "small blocks"])
def blocks(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mee.ranking.scores, "BLOCK_SCORES", request.param[0])
        patch.setattr(mee.ranking.scores, "FEWEST_ROWS", request.param[1])
        yield


@given(SEEDS, st.sampled_from([0.0, 0.125]), st.sampled_from([None, 1, 2, 5, 50]), st.integers(1, 12))
def test_ranks_gains_and_first_answers_equal_loops(blocks, seed, margin, values, count):
    matrix, positive = any_problem(seed, values) if values else problem(seed, margin)
    scores = WholeScores(matrix, margin / 125 if values else margin, seed)
    ranking = rank_queries(scores, positives_of(positive), top=count)
    t2v, top, best = ranking.t2v, ranking.top, matrix.where(positive, -math.inf).amax(1)
    assert t2v.query.tolist() == top.query.tolist() == list(range(len(matrix)))
    assert t2v.rank.tolist() == [scipy_rank(*each) for each in zip(matrix, best, positive)]
    assert t2v.gain.tolist() == pytest.approx([loop_gain(*each) for each in zip(matrix, positive)])
    assert t2v.rank.equal(expected_ranks(matrix, positive))
    for query, found in zip(ranking.v2t.query.tolist(), ranking.v2t.rank.tolist()):
        own, right = matrix[:, query], positive[:, query]
        assert found == scipy_rank(own, own[right].max(), right)
    for row, candidates, found in zip(matrix, top.candidate, top.score):
        order = sorted(range(matrix.shape[1]), key=lambda place: (-row[place], place))[:count]
        assert candidates.tolist() == order
        assert found.equal(row[order])


@given(seed=SEEDS, margin=st.sampled_from([0.0, 0.125]))
def test_video_to_text_equals_loops_under_all_conventions(blocks, seed, margin):
    matrix, positive = problem(seed, margin)
    captioned = positive.any(0).nonzero().flatten().tolist()
    scores, pairs = WholeScores(matrix, margin), positives_of(positive)
    closest = rank_queries(scores, pairs, v2t="closest").v2t
    assert closest.query.tolist() == captioned
    assert closest.candidates == len(matrix)
    assert closest.rank.equal(expected_ranks(matrix.T[captioned], positive.T[captioned]))
    video = rank_queries(scores, pairs, v2t="video").v2t
    assert video.rank.tolist() == [loop_video(matrix, positive, candidate) for candidate in captioned]
    assert video.candidates == len({tuple(row.tolist()) for row in positive})
    each = rank_queries(scores, pairs, v2t="each").v2t
    for candidate in captioned:
        mine = each.rank[each.query == candidate].tolist()
        assert sorted(mine) == sorted(loop_each(matrix, positive, candidate))


@given(seed=SEEDS)
def test_conventions_one_and_two_agree_on_who_is_first(seed):
    """Where nothing ties: two tied captions of one video are one rival under "video", two under "closest"."""
    matrix, positive = problem(seed, 0.0)
    scores = WholeScores(matrix + torch.rand(matrix.shape, generator=torch.Generator().manual_seed(seed)))
    right = positives_of(positive)
    closest, video = (rank_queries(scores, right, v2t=v2t).v2t.rank for v2t in ("closest", "video"))
    assert closest.eq(1).equal(video.eq(1))
    assert (video <= closest).all()


def test_conventions_differ_beyond_the_first_place_and_queries_without_a_right_answer_only_compete():
    scores = WholeScores(torch.tensor([[0.5, 0.0], [0.9, 0.2], [0.8, 0.1]]))
    right = positives_of(torch.tensor([[True, False], [False, True], [False, True]]))
    ranks = {name: rank_queries(scores, right, v2t=name).v2t.rank.tolist() for name in CONVENTIONS}
    assert ranks == {"closest": [3.0, 1.0], "video": [2.0, 1.0], "each": [3.0, 1.0, 2.0]}
    lone = Positives(torch.tensor([1]), torch.tensor([0]), 2, 2)
    both = rank_queries(WholeScores(torch.tensor([[0.1, 0.9], [0.5, 0.2]])), lone, top=1)
    assert (both.t2v.query.tolist(), both.t2v.rank.tolist()) == ([1], [1.0])
    assert (both.v2t.query.tolist(), both.v2t.rank.tolist()) == ([0], [1.0])
    assert both.top.query.tolist() == [1]
    row = [0.5, 0.5, 0.5, 0.9, 0.1]  # equal wrong answers share their places with the right one
    for scores, right, rank in ((row, [0], 3.0), (row, [0, 1], 2.5), ([-1e30, 0.1, -1e30], [0], 2.5)):
        own = positives_of(torch.tensor([[place in right for place in range(len(scores))]]))
        assert rank_queries(WholeScores(torch.tensor([scores])), own).t2v.rank.tolist() == [rank]


@given(seed=SEEDS)
def test_permuting_queries_and_gallery_or_a_rising_function_of_the_scores_changes_nothing(seed):
    matrix, positive = problem(seed, 0.0)
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randperm(count, generator=generator) for count in matrix.shape)
    pairs = positives_of(positive)
    before, risen = (rank_queries(WholeScores(m), pairs, v2t="each") for m in (matrix, matrix.exp() * 7))
    moved, right = matrix[rows][:, columns], positive[rows][:, columns]
    after = rank_queries(WholeScores(moved), positives_of(right), v2t="each")
    assert after.t2v.rank.equal(before.t2v.rank[rows])
    assert after.v2t.rank.sort().values.equal(before.v2t.rank.sort().values)
    assert risen.t2v.rank.equal(before.t2v.rank)
    assert risen.v2t.rank.equal(before.v2t.rank)


@pytest.mark.parametrize(
    ("spoil", "right", "says"),
    [
        ({}, [], "no query has a right answer"),
        ({(0, 0): math.nan}, [(0, 0), (1, 1), (2, 1)], "1 scores are NaN"),
        ({(0, 1): math.nan}, [(0, 0), (1, 1), (2, 1)], "1 scores are NaN"),
        ({}, [(0, 0), (1, 1), (2, 0)], "side by side"),
        ({}, [(0, 0), (2, 0)], "belongs to no video"),
    ],
)
def test_what_has_no_ranks_is_refused(spoil, right, says):
    matrix, positive = torch.rand(3, 2), torch.zeros(3, 2, dtype=torch.bool)
    for place, value in spoil.items():
        matrix[place] = value
    for place in right:
        positive[place] = True
    with pytest.raises(ValueError, match=says):
        rank_queries(WholeScores(matrix), positives_of(positive), v2t="video")


def any_problem(seed, values):
    """Any right answers; of so many score values, or all different."""
    generator = torch.Generator().manual_seed(seed)
    queries, candidates = torch.randint(2, 40, (2,), generator=generator).tolist()
    positive = torch.rand(queries, candidates, generator=generator) < 0.2
    positive[torch.arange(queries), torch.randint(0, candidates, (queries,), generator=generator)] = True
    if values:
        return torch.randint(0, values, (queries, candidates), generator=generator).float() / 8, positive
    places = [1 + torch.randperm(candidates, generator=generator) for _ in range(queries)]
    return torch.stack(places) / (1 + candidates), positive  # above 0: torchmetrics finds nothing at 0


@given(seed=SEEDS)
def test_figures_are_those_of_torchmetrics(seed):
    matrix, positive = any_problem(seed, 0)
    t2v = rank_queries(WholeScores(matrix), positives_of(positive)).t2v
    figures = retrieval_metrics(t2v.rank, t2v.gain)
    lists = torch.arange(len(matrix)).repeat_interleave(matrix.shape[1])
    theirs = {f"R@{k}": RetrievalHitRate(top_k=k) for k in (1, 5, 10)}
    theirs |= {"MRR": RetrievalMRR(), "nDCG@10": RetrievalNormalizedDCG(top_k=10)}
    for name, metric in theirs.items():
        expected = 100 * float(metric(matrix.flatten(), positive.flatten(), indexes=lists))
        assert figures[name] == pytest.approx(expected, abs=1e-3), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_gpu_ranks_as_the_cpu_does(convention):
    found = []
    for device in ("cpu", "cuda"):
        generator, owner = torch.Generator().manual_seed(0), torch.arange(300).repeat_interleave(4)
        layout = Layout(("a", "b"), (16, 16))
        video, text = random_video(generator, 300, layout, 0.3), random_text(generator, 1200, layout)
        packed = text.packed + video.packed[owner]
        packed[5] = packed[4]
        scores = MixtureScores(
            TextEmbedding(packed.to(device), text.logits.to(device), text.offsets.to(device)),
            VideoEmbedding(video.packed.to(device), video.available.to(device)),
            layout,
        )
        found.append(rank_queries(scores, Positives(torch.arange(1200), owner, 1200, 300), v2t=convention, top=10))
    cpu, cuda = found
    for way in ("t2v", "v2t"):
        assert getattr(cuda, way).rank.cpu().equal(getattr(cpu, way).rank)
    assert cuda.top.candidate.equal(cpu.top.candidate)
