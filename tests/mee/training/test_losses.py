"""Losses: against plain loops over their formulas, with the pairs that truly match left out."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mee.scoring import mee_scores
from mee.streams import Streams
from mee.training.config import TrainConfig
from mee.training.losses import InfoNCELoss, MaxMarginLoss, TrainingStep, make_loss

SEEDS = st.integers(0, 2**31)


def random_batch(seed, size=6):
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.rand(size, size, generator=generator, dtype=torch.float64) - 1
    negative = torch.rand(size, size, generator=generator) < 0.7
    return scores, negative & ~torch.eye(size, dtype=torch.bool)


@given(SEEDS, st.sampled_from([0.0, 0.2, 3.0]))
def test_max_margin_equals_a_loop_over_the_negatives_or_over_all(seed, margin):
    """The published mean is over every pair, both ways, its own among them; true matches cost nothing."""
    scores, negative = random_batch(seed)
    rows, terms, published = scores.tolist(), [], []
    for i, j in product(range(6), repeat=2):
        for score, counts in ((rows[i][j], negative[i, j]), (rows[j][i], negative[j, i])):
            cost = max(0.0, margin + score - rows[i][i])
            terms += [cost] * int(counts)
            published.append(cost if counts or i == j else 0.0)
    assert len(published) == 2 * 6**2
    expected = sum(terms) / len(terms) if terms else 0.0
    assert MaxMarginLoss(margin)(scores, negative).item() == pytest.approx(expected, abs=1e-12)
    over_all = MaxMarginLoss(margin, over_all=True)(scores, negative)
    assert over_all.item() == pytest.approx(sum(published) / len(published), abs=1e-12)


def test_both_means_have_gradients_of_one_direction():
    scores, _ = random_batch(0)
    negative = ~torch.eye(6, dtype=torch.bool)
    gradients = []
    for over_all in (False, True):
        leaf = scores.clone().requires_grad_()
        MaxMarginLoss(0.5, over_all=over_all)(leaf, negative).backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[1], gradients[0] * 5 / 6)


@given(SEEDS, st.sampled_from([0.02, 0.07, 1.0]))
def test_infonce_equals_a_loop(seed, temperature):
    scores, negative = random_batch(seed)
    total = 0.0
    for i in range(6):
        for line, others in ((scores[i], negative[i]), (scores[:, i], negative[:, i])):
            rest = [line[j].item() for j in range(6) if others[j]]
            own = line[i].item()
            total += math.log(sum(math.exp((s - own) / temperature) for s in [own, *rest]))
    loss = InfoNCELoss(temperature)(scores, negative)
    assert loss.item() == pytest.approx(total / 12, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("loss", [MaxMarginLoss(0.2), InfoNCELoss(0.07)], ids=["max-margin", "infonce"])
def test_both_directions_count_alike_and_true_matches_not_at_all(loss):
    scores, negative = random_batch(1)
    torch.testing.assert_close(loss(scores, negative), loss(scores.T, negative.T))
    scores, negative = random_batch(0, 4)[0], ~torch.eye(4, dtype=torch.bool)
    spoiled = scores.clone()
    for i, j in ((0, 1), (1, 0), (2, 3), (3, 2)):
        spoiled[i, j], negative[i, j] = 1e6, False
    assert loss(spoiled, negative).equal(loss(scores, negative))
    scores.requires_grad_()
    value = loss(scores, torch.zeros(4, 4, dtype=torch.bool))  # no negatives at all
    value.backward()
    assert value.item() == 0
    assert scores.grad.isfinite().all()


def test_perfect_scores_cost_nothing_and_extreme_scores_stay_finite():
    negative = ~torch.eye(4, dtype=torch.bool)
    assert MaxMarginLoss(0.2)(torch.eye(4), negative).item() == 0
    loss = InfoNCELoss(0.01)
    assert loss(2 * torch.eye(4) - 1, negative).item() == pytest.approx(0, abs=1e-6)
    assert loss(1 - 2 * torch.eye(4), negative).item() == pytest.approx(200 + math.log(3), rel=1e-5)


@pytest.mark.parametrize(("start", "used"), [(1e-6, 0.01), (0.07, 0.07), (50.0, 1.0)])
def test_the_temperature_is_clamped_and_told_and_can_come_back_from_its_limit(start, used):
    loss = InfoNCELoss(0.07)
    with torch.no_grad():
        loss.log_temperature.fill_(math.log(start))  # where a step may lead
    assert loss.figures() == {"temperature": pytest.approx(used)}
    loss(*random_batch(2)).backward()
    assert loss.temperature.item() == pytest.approx(used) == InfoNCELoss(start).temperature.item()
    assert loss.log_temperature.grad.item() != 0
    assert MaxMarginLoss(0.2).figures() == {}


def test_settings_name_the_loss():
    assert make_loss(TrainConfig(loss="max-margin", margin=0.3)).margin == 0.3
    assert not make_loss(TrainConfig(loss="max-margin")).over_all
    assert make_loss(TrainConfig(loss="max-margin", margin_mean="all")).over_all
    assert isinstance(make_loss(TrainConfig()), InfoNCELoss)
    assert make_loss(TrainConfig(temperature=0.5)).temperature.item() == pytest.approx(0.5)


# ---- the training step: the loss of the model's scores, in full precision

DIMS = {"appearance": 5, "motion": 4, "audio": 3}


@pytest.fixture
def batch(model, sentences):
    """Six captions and clips; motion is missing twice, audio everywhere."""
    torch.manual_seed(3)
    clips = {name: Streams(torch.randn(6, 3, dim), torch.full((6,), 3)) for name, dim in DIMS.items()}
    clips["motion"] = clips["motion"].where(torch.tensor([1, 1, 0, 1, 0, 1]).bool())
    clips["audio"] = clips["audio"].where(torch.zeros(6, dtype=torch.bool))
    read = {name: ragged.all() for name, ragged in model.tokenize(sentences).items()}
    return read, clips, ~torch.eye(6, dtype=torch.bool)


@pytest.mark.parametrize("loss", [InfoNCELoss(0.1), MaxMarginLoss(0.2), MaxMarginLoss(0.2, over_all=True)])
def test_it_is_the_loss_of_the_models_scores(model, batch, loss):
    read, clips, negative = batch
    value = TrainingStep(model, loss)(read, clips, negative)
    text, video = model.encode_text(read), model.encode_video(clips)
    scores = mee_scores(text.packed, video.packed, text.logits, video.available, model.layout)
    torch.testing.assert_close(value, loss(scores, negative))


def test_all_that_learns_gets_a_gradient(model, batch):
    step = TrainingStep(model, InfoNCELoss(0.1)).train()
    step(*batch).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in step.parameters())
    assert model.expert("appearance").unit.linear.weight.grad.abs().max() > 0
    assert model.expert("audio").unit.linear.weight.grad.abs().max() == 0


def test_scores_keep_their_digits_in_mixed_precision_and_doubles_stay_double(model, batch):
    seen = []

    class Spy(InfoNCELoss):
        def forward(self, scores, negative):
            seen.append((scores.dtype, torch.is_autocast_enabled("cpu")))
            return super().forward(scores, negative)

    step = TrainingStep(model, Spy(0.1)).train()
    with torch.autocast("cpu", torch.bfloat16):
        value = step(*batch)
    value.backward()
    assert seen == [(torch.float32, False)]
    assert value.dtype == torch.float32
    read, clips, negative = batch
    doubled = {name: Streams(s.padded.double(), s.lengths) for name, s in clips.items()}
    assert step.double()(read, doubled, negative).dtype == torch.float64
