"""The training loop: AdamW, a schedule of the learning rate, the epoch chosen on validation captions.

The validation score is the mean reciprocal rank, text to video: of the usual figures the one that changes with
every rank, so the least noisy on few clips. Fewer than 10 captions can choose nothing: then the last epoch counts
and none is skipped. Test captions never enter here. A run that was stopped goes on from
its last whole epoch, with the same numbers as an unbroken one. Device, mixed precision and several processes come
from accelerate; every process draws the same batches, takes its share of each, and the loss is that of the whole.

Scalars for TensorBoard, by accelerate's tracker; steps that a resumed run repeats replace those recorded before:

    train/loss, learning_rate, gradient_norm, temperature (of InfoNCE)    one a step
    validation/MRR, R@1, R@5, R@10, MedR                                  one an epoch, at its last step
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mee.config import ModelConfig
from mee.data import FeatureSource, Pairs, check_source
from mee.distributed import joint_numbers, processes
from mee.encode import embed_captions, embed_clips, load_prepared
from mee.errors import InputError
from mee.evaluation import evaluate_pairs
from mee.model import MEE
from mee.training.accelerator import make_accelerator
from mee.training.closed_form import informative, start_closed_form
from mee.training.config import TrainConfig
from mee.training.data import IMAGE_MODALITY, Batch, TrainingData, check_finite
from mee.training.losses import make_loss
from mee.training.optimiser import learnt_state, load_learnt_state, make_optimiser, rate_factor, set_rate
from mee.training.state import Progress, load_state, save_state
from mee.training.step import TrainingStep

log = logging.getLogger(__name__)

ENOUGH = 10  # validation captions that can choose an epoch
FIGURES = ("MRR", "R@1", "R@5", "R@10", "MedR")  # of each epoch, text to video


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
        images: tuple[FeatureSource, Pairs] | None = None,
        scalars: Path | None = None,
    ) -> None:
        """Build everything from the seed.

        Args:
            source: where the streams are.
            train: captions to learn from.
            validation: captions to choose the epoch by.
            model_config: the model.
            config: how it is trained.
            device: cpu, or the kind of device of which accelerate gives each process its own.
            images: image captions and where their appearance is.
            scalars: directory for TensorBoard.

        Raises:
            InputError: the streams are not those of the model config or not finite, there are too few captions, or
                the device has not the precision asked for, or TensorBoard is wanted and not installed.
        """
        check_source(model_config, source)
        if images:
            check_images(model_config, images[0])
        if not validation.gallery:
            raise InputError("training needs at least one validation caption with a clip")
        self.accelerator = make_accelerator(device, config, scalars)
        self.device: torch.device = self.accelerator.device
        if config.batch_size < processes():
            raise InputError(f"batch-size {config.batch_size} is too small: {processes()} processes share a batch")
        torch.manual_seed(config.seed)
        self.source = source
        self.train, self.validation, self.images = train, validation, images
        self.data = TrainingData(source, train, [expert.name for expert in model_config.experts], images)
        if not self.data.steps(config):
            raise InputError(f"{len(self.data)} training captions are too few for {processes()} processes")
        self.model = MEE.learn(model_config, self.data.captions).to(self.device)
        self.data.prepare(self.model)
        knows = informative(self.model.text_encoder)
        self.starts_closed_form = config.start == "closed-form" or (config.start == "auto" and knows)
        self.config = config = config.settled(closed_form=self.starts_closed_form)
        if self.starts_closed_form:
            start_closed_form(self.model, self.data, config)
        self.loss = make_loss(config)
        self.validation_text = self.model.read_text(list(dict.fromkeys(validation.captions)))
        self.validation_clips = load_prepared(self.model, source, validation.gallery)
        check_finite(self.validation_clips, validation.gallery)
        self.step = TrainingStep(self.model, self.loss).to(self.device)
        self.optimizer = make_optimiser(self.model, self.loss, config)
        with warnings.catch_warnings():  # torch has a new word for broadcast_buffers; accelerate has not yet
            warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
            self.prepared, self.prepared_optimizer = self.accelerator.prepare(self.step, self.optimizer)
        self.generator = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed + 1_000_003 * self.accelerator.process_index)  # dropout differs by process
        self.progress = Progress()
        self.best = copied(learnt_state(self.model))

    def run(self, state: Path, on_epoch: Callable[[Progress], None]) -> MEE:
        """Train until done, and return the model of the best epoch.

        Args:
            state: file that is rewritten after each epoch, and gone on from if it is there.
            on_epoch: called after each epoch, in every process.

        Raises:
            InputError: the state is damaged or another run's, or training has come to numbers that are not finite.
        """
        signature = self.signature()
        if state.exists():
            load_state(state, self, signature)
            log.info("going on after epoch %d", self.progress.epoch)
        purge = {"purge_step": self.progress.step + 1}  # what was recorded of later steps belongs to a stopped run
        self.accelerator.init_trackers("", init_kwargs={"tensorboard": purge})
        try:
            if self.starts_closed_form and not self.progress.history:
                self._note_start()
            while not self.progress.done(self.config):
                loss = self._train_epoch()
                self._note(loss)
                save_state(state, self, signature)
                on_epoch(self.progress)
        finally:
            for tracker in self.accelerator.trackers:  # not end_training: that ends the process group too
                tracker.finish()
        load_learnt_state(self.model, self.best)
        return self.model.eval()

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return bool(self.accelerator.is_main_process)

    @property
    def selects(self) -> bool:
        """Whether there are validation captions enough to choose an epoch by."""
        return len(self.validation) >= ENOUGH

    def signature(self) -> dict[str, Any]:
        """What must be the same for a stopped run to be gone on with."""
        pairs = [self.train, self.validation, *([self.images[1]] if self.images else [])]
        return {
            "model": asdict(self.model.config),
            "training": asdict(self.config),
            "captions": [some.digest for some in pairs],
            "processes": processes(),
        }

    def _train_epoch(self) -> float:
        """One pass over the captions. Returns the mean loss of its batches."""
        self.step.train()
        accumulate, batches = self.config.accumulate, self.data.steps(self.config)
        steps = math.ceil(batches / accumulate)
        losses: list[float] = []
        for number, batch in enumerate(self.data.batches(self.config, self.generator)):
            done, place = divmod(number, accumulate)
            group = min(accumulate, batches - done * accumulate)  # the last group may be smaller
            last = place == group - 1
            losses.append(self._batch(batch, group, last))
            if last:
                set_rate(self.optimizer, rate_factor(self.config, self.progress.epoch, (done + 0.5) / steps))
                self._step(losses[-group:])
        return sum(losses) / len(losses)

    def _batch(self, batch: Batch, group: int, last: bool) -> float:
        """Add one batch's gradients, divided by the number of batches in its group."""
        with nullcontext() if last else self.accelerator.no_sync(self.prepared):
            loss = self.prepared(batch.sentences, batch.clips, batch.negative)
            self.accelerator.backward(loss / group)
        value = float(loss.detach())
        self._require_finite(value, "loss")
        return value

    def _step(self, losses: list[float]) -> None:
        """Change the weights, once the gradients of a group of batches are there."""
        scaler = self.accelerator.scaler
        if scaler:
            scaler.unscale_(self.optimizer)
        learnt = [p for p in self.step.parameters() if p.requires_grad]
        if self.config.clip_gradient:
            norm = float(nn.utils.clip_grad_norm_(learnt, self.config.clip_gradient))
        else:
            norm = float(nn.utils.get_total_norm([p.grad for p in learnt if p.grad is not None]))
        if not scaler:  # which else leaves such a step out, and lowers its scale
            self._require_finite(norm, "gradient")
        self.prepared_optimizer.step()
        self.prepared_optimizer.zero_grad()
        self.progress.step += 1
        rate = self.optimizer.param_groups[0]["lr"]
        figures = {"loss": sum(losses) / len(losses), "learning_rate": rate, "gradient_norm": norm}
        self._record("train", {**figures, **self.loss.figures()})

    def _require_finite(self, value: float, name: str) -> None:
        if not math.isfinite(value):
            raise InputError(
                f"the {name} is {value} in epoch {self.progress.epoch + 1}, step {self.progress.step + 1}; start "
                "again with --overwrite and a lower --learning-rate, and look for streams with extreme numbers"
            )

    def _note_start(self) -> None:
        """Validate before the first step: the start itself may be the best epoch, number 0."""
        figures = self._validate()
        self.progress.best_score = figures["MRR"]
        self.progress.history.append({"epoch": 0, **figures})

    def _note(self, loss: float) -> None:
        """Validate, and keep the weights if they are the best so far."""
        figures = self._validate()
        progress = self.progress
        progress.epoch += 1
        better = figures["MRR"] >= progress.best_score  # of equals the later one: it has learnt more
        if better or not self.selects:
            progress.best_epoch, progress.best_score = progress.epoch, figures["MRR"]
            self.best = copied(learnt_state(self.model))
        progress.history.append({"epoch": progress.epoch, "loss": loss, **figures})
        self._record("validation", figures)

    def _record(self, group: str, figures: Mapping[str, float]) -> None:
        self.accelerator.log({f"{group}/{name}": value for name, value in figures.items()}, self.progress.step)

    def _validate(self) -> dict[str, float]:
        """Figures on the validation captions, measured by one process for all: they must not disagree."""
        numbers = [0.0] * len(FIGURES)
        if self.leads:
            text = embed_captions(self.model, self.validation.captions, self.validation_text)
            gallery = embed_clips(self.model, self.validation_clips, self.validation.gallery)
            report = evaluate_pairs(self.model, gallery, self.validation, text=text)
            numbers = [report.t2v[name] for name in FIGURES]
        return dict(zip(FIGURES, joint_numbers(numbers, self.device)))


def check_images(config: ModelConfig, source: FeatureSource) -> None:
    """Refuse images whose appearance is not that of the model's videos.

    Raises:
        InputError: the model has no such expert, or the images were extracted by another extractor or not at all.
    """
    appearance = tuple(expert for expert in config.experts if expert.name == IMAGE_MODALITY)
    if not appearance:
        raise InputError(
            f"image captions need the expert '{IMAGE_MODALITY}', and this model has "
            f"{', '.join(expert.name for expert in config.experts)}; name it in --streams, or go without --images"
        )
    check_source(replace(config, experts=appearance), source)


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that no later step changes."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}
