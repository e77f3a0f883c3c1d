"""The training step: the loss of the model's scores, in full precision, with gradients for all that learns."""

import pytest
import torch

from mee.scoring import mee_scores
from mee.streams import Streams
from mee.training.losses import InfoNCELoss, MaxMarginLoss, TrainingStep

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


def test_scores_keep_their_digits_in_mixed_precision(model, batch):
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


def test_double_precision_stays_double(model, batch):
    read, clips, negative = batch
    doubled = {name: Streams(s.padded.double(), s.lengths) for name, s in clips.items()}
    assert TrainingStep(model, InfoNCELoss(0.1)).double()(read, doubled, negative).dtype == torch.float64
