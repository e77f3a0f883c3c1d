"""Losses: against plain loops over their formulas, with the pairs that truly match left out."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.config import TrainConfig
from mee.loss import InfoNCELoss, MaxMarginLoss, make_loss, negatives

SEEDS = st.integers(0, 2**31)


def random_batch(seed, size=6):
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.rand(size, size, generator=generator, dtype=torch.float64) - 1
    video = torch.randint(4, (size,), generator=generator)
    sentence = torch.randint(5, (size,), generator=generator)
    return scores, video, sentence


@given(SEEDS)
def test_negatives_share_neither_video_nor_sentence(seed):
    _, video, sentence = random_batch(seed)
    negative = negatives(video, sentence)
    for i in range(6):
        for j in range(6):
            same = video[i] == video[j] or sentence[i] == sentence[j]
            assert bool(negative[i, j]) is not bool(same)
    assert not negative.diagonal().any()


@given(SEEDS, st.sampled_from([0.0, 0.2, 3.0]))
def test_max_margin_equals_a_loop(seed, margin):
    scores, video, sentence = random_batch(seed)
    negative = negatives(video, sentence)
    terms = []
    for i in range(6):
        for j in range(6):
            if negative[i, j]:
                terms.append(max(0.0, margin + scores[i, j].item() - scores[i, i].item()))
            if negative[j, i]:
                terms.append(max(0.0, margin + scores[j, i].item() - scores[i, i].item()))
    expected = sum(terms) / len(terms) if terms else 0.0
    assert MaxMarginLoss(margin)(scores, negative).item() == pytest.approx(expected, abs=1e-12)


@given(SEEDS, st.sampled_from([0.02, 0.07, 1.0]))
def test_infonce_equals_a_loop(seed, temperature):
    scores, video, sentence = random_batch(seed)
    negative = negatives(video, sentence)
    total = 0.0
    for i in range(6):
        for line, others in ((scores[i], negative[i]), (scores[:, i], negative[:, i])):
            rest = [line[j].item() for j in range(6) if others[j]]
            own = line[i].item()
            total += math.log(sum(math.exp((s - own) / temperature) for s in [own, *rest]))
    loss = InfoNCELoss(temperature)(scores, negative)
    assert loss.item() == pytest.approx(total / 12, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("loss", [MaxMarginLoss(0.2), InfoNCELoss(0.07)], ids=["max-margin", "infonce"])
def test_scores_of_true_matches_have_no_influence(loss):
    scores, _, _ = random_batch(0, 4)
    negative = negatives(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 2, 2]))
    spoiled = scores.clone()
    for i, j in ((0, 1), (1, 0), (2, 3), (3, 2)):
        spoiled[i, j] = 1e6
    assert loss(spoiled, negative).equal(loss(scores, negative))


@pytest.mark.parametrize("loss", [MaxMarginLoss(0.2), InfoNCELoss(0.07)], ids=["max-margin", "infonce"])
def test_a_batch_without_negatives_has_loss_zero_and_finite_gradients(loss):
    scores = torch.randn(3, 3, requires_grad=True)
    value = loss(scores, torch.zeros(3, 3, dtype=torch.bool))
    value.backward()
    assert value.item() == 0
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize("loss", [MaxMarginLoss(0.2), InfoNCELoss(0.07)], ids=["max-margin", "infonce"])
def test_both_directions_count_alike(loss):
    scores, video, sentence = random_batch(1)
    negative = negatives(video, sentence)
    torch.testing.assert_close(loss(scores, negative), loss(scores.T, negative.T))


def test_perfect_scores_cost_nothing_and_extreme_scores_stay_finite():
    negative = ~torch.eye(4, dtype=torch.bool)
    assert MaxMarginLoss(0.2)(torch.eye(4), negative).item() == 0
    loss = InfoNCELoss(0.01)
    assert loss(2 * torch.eye(4) - 1, negative).item() == pytest.approx(0, abs=1e-6)
    assert loss(1 - 2 * torch.eye(4), negative).item() == pytest.approx(200 + math.log(3), rel=1e-5)


@pytest.mark.parametrize(("start", "used"), [(1e-6, 0.01), (0.07, 0.07), (50.0, 1.0)])
def test_temperature_is_clamped(start, used):
    assert InfoNCELoss(start).temperature.item() == pytest.approx(used)


def test_temperature_is_learnt():
    loss = InfoNCELoss(0.07)
    loss(random_batch(0)[0].float(), ~torch.eye(6, dtype=torch.bool)).backward()
    assert loss.log_temperature.grad.abs() > 0


def test_settings_name_the_loss():
    assert make_loss(TrainConfig(loss="max-margin", margin=0.3)).margin == 0.3
    assert make_loss(TrainConfig(temperature=0.5)).temperature.item() == pytest.approx(0.5)
