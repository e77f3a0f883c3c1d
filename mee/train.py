"""The training loop: AdamW, warm-up and cosine decay, the epoch chosen on validation captions.

    rate(step) = learning_rate * min(step / warm-up steps, (1 + cos(pi * share of the rest done)) / 2)

The validation score is the mean reciprocal rank, text to video: of the usual figures the one that changes with
every rank, so the least noisy on few clips. Fewer than 10 captions can choose nothing: then the last epoch counts
and none is skipped. Test captions never enter here. A run that was stopped goes on from
its last whole epoch, with the same numbers as an unbroken one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mee.config import ModelConfig, TrainConfig
from mee.data import FeatureSource, check_source
from mee.errors import InputError
from mee.evaluate import evaluate
from mee.gallery import encode_gallery
from mee.loss import make_loss
from mee.model import MEE
from mee.pairs import Pairs
from mee.tokenizer import CaptionTokenizer
from mee.training_data import Batch, TrainingData
from mee.training_state import load_state, save_state

log = logging.getLogger(__name__)

ENOUGH = 10  # validation captions that can choose an epoch


@dataclass
class Progress:
    """Where a run stands: the part of its state that is not tensors."""

    epoch: int = 0  # epochs done
    best_epoch: int = 0
    best_score: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)  # one entry an epoch

    def done(self, config: TrainConfig) -> bool:
        """All epochs done, or no better score for too long."""
        return self.epoch >= config.epochs or self.epoch - self.best_epoch >= config.patience


class Trainer:
    """One run: model, data, optimiser and where it stands."""

    def __init__(
        self,
        source: FeatureSource,
        train: Pairs,
        validation: Pairs,
        model_config: ModelConfig,
        config: TrainConfig,
        device: torch.device,
    ) -> None:
        """Build everything from the seed.

        Raises:
            InputError: the streams are not those of the model config, or there are too few captions.
        """
        check_source(model_config, source)
        torch.manual_seed(config.seed)
        self.config, self.source, self.device = config, source, device
        self.train, self.validation = train, validation
        self.data = TrainingData(source, train, [expert.name for expert in model_config.experts])
        if len(set(self.data.video.tolist())) < 2:
            raise InputError("training needs captions of at least two videos: the others are the negatives")
        text = model_config.text
        tokenizer = CaptionTokenizer.learn(self.data.captions, text.vocabulary, text.max_tokens)
        self.model = MEE(model_config, tokenizer)
        self.model.fit_standardisation(self.data.all_clips())
        self.model.to(device)
        self.loss = make_loss(config).to(device)
        self.optimizer = torch.optim.AdamW(_parameter_groups(self.model, self.loss, config), config.learning_rate)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.progress = Progress()
        self.best = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def run(self, state: Path, on_epoch: Callable[[Progress], None]) -> MEE:
        """Train until done, and return the model of the best epoch.

        Args:
            state: file that is rewritten after each epoch, and gone on from if it is there.
            on_epoch: called after each epoch.
        """
        signature = self.signature()
        if state.exists():
            load_state(state, self, signature)
            log.info("going on after epoch %d", self.progress.epoch)
        while not self.progress.done(self.config):
            loss = self._train_epoch()
            self._note(loss)
            save_state(state, self, signature)
            on_epoch(self.progress)
        self.model.load_state_dict(self.best)
        return self.model.eval()

    @property
    def selects(self) -> bool:
        """Whether there are validation captions enough to choose an epoch by."""
        return len(self.validation) >= ENOUGH

    def signature(self) -> dict[str, Any]:
        """What must be the same for a stopped run to be gone on with."""
        return {
            "model": asdict(self.model.config),
            "training": asdict(self.config),
            "captions": [pairs.digest for pairs in (self.train, self.validation)],
        }

    def _train_epoch(self) -> float:
        """One pass over the captions. Returns the mean loss."""
        self.model.train()
        batches = self.data.batches(self.config.batch_size, self.config.stream_dropout, self.generator)
        steps = math.ceil(len(self.data) / self.config.batch_size)
        losses = []
        for number, batch in enumerate(batches):
            share = (self.progress.epoch + (number + 1) / steps) / self.config.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.learning_rate * schedule(share, self.config.warmup)
            losses.append(self._step(batch))
        return sum(losses) / len(losses)

    def _step(self, batch: Batch) -> float:
        scores = self.model(batch.captions, batch.clips)
        loss = self.loss(scores, batch.negative.to(scores.device))
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return float(loss.detach())

    def _note(self, loss: float) -> None:
        """Validate, and keep the weights if they are the best so far."""
        gallery = encode_gallery(self.model, self.source, self.validation.gallery)
        report = evaluate(self.model, gallery, self.validation)
        progress = self.progress
        progress.epoch += 1
        score = report.t2v["MRR"]
        if score >= progress.best_score or not self.selects:  # of equals the later one: it has learnt more
            progress.best_epoch, progress.best_score = progress.epoch, score
            self.best = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        figures = {name: report.t2v[name] for name in ("MRR", "R@1", "R@5", "R@10", "MedR")}
        progress.history.append({"epoch": progress.epoch, "loss": loss, **figures})


def schedule(share: float, warmup: float) -> float:
    """Factor of the learning rate after a share of all steps: a straight rise, then half a cosine down to 0."""
    if share < warmup:
        return share / warmup
    return (1 + math.cos(math.pi * (share - warmup) / (1 - warmup))) / 2


def _parameter_groups(model: MEE, loss: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Weight decay on matrices only; not on biases, norms, the word embedding and the temperature."""
    embedding = model.text_encoder.embedding.weight
    matrices = [p for p in model.parameters() if p.ndim > 1 and p is not embedding]
    others = [p for p in model.parameters() if p.ndim < 2 or p is embedding]
    return [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": [*others, *loss.parameters()], "weight_decay": 0.0},
    ]
