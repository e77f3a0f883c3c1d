"""The training loop: AdamW, a schedule of the learning rate, the epoch chosen on validation captions.

    cosine:       rate(s) = learning_rate * s / warmup                                         while s < warmup
                  rate(s) = learning_rate * (1 + cos(pi * (s - warmup) / (1 - warmup))) / 2    from then on
    exponential:  rate(s) = learning_rate * min(s / warmup, 1) * decay^(whole epochs done)

s: share of all steps done, taken at the middle of each, so that no step has rate 0. AdamW (Loshchilov and Hutter,
arXiv 1711.05101, algorithm 2); without weight decay it is Adam.

The validation score is the mean reciprocal rank, text to video: of the usual figures the one that changes with
every rank, so the least noisy on few clips. Fewer than 10 captions can choose nothing: then the last epoch counts
and training never stops early. Of many, `choosing` are drawn, and ranked against the clips that they belong to.
Test captions are never used here. A stopped run resumes after its last whole epoch, with the same numbers as an
uninterrupted one. Device, mixed precision and several processes come from accelerate; every process draws the same
batches, takes its share of each, and the loss is that of the whole.

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
from copy import deepcopy
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mee.config import ModelConfig
from mee.data import FeatureSource, Pairs, Split, check_source, video_contents
from mee.distributed import joint_numbers, make_accelerator, processes
from mee.encode import encode_captions, encode_gallery, load_streams
from mee.errors import InputError
from mee.evaluation import Retrieval
from mee.model import MEE
from mee.protocols import FOLDER, Benchmark
from mee.training.closed_form import (
    informative,
    keep_experts,
    start_closed_form,
    untrained,
    with_inputs,
    with_text_sides,
)
from mee.training.config import TrainConfig
from mee.training.data import IMAGE_MODALITY, Batch, TrainingData
from mee.training.losses import TrainingStep, make_loss
from mee.training.state import Progress, learnt_state, load_learnt_state, load_state, save_state

log = logging.getLogger(__name__)

ENOUGH = 10  # validation captions that can choose an epoch
CALMER = "start again with --overwrite and a lower --learning-rate, and look for streams with extreme numbers"
FIGURES = ("MRR", "R@1", "R@5", "R@10", "MedR")  # of each epoch, text to video


class Trainer:
    """One run: model, data, optimiser and progress."""

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
        folder: Path | None = None,
        start: MEE | None = None,
    ) -> None:
        """Build everything from the seed.

        `device` is cpu, or the kind of device of which accelerate gives each process its own; `images`: image
        captions and where their appearance is; `scalars`: directory for TensorBoard; `folder`: for temporary files
        of what is too large for the memory (mee.streams), which the first process has made; `start`: a model of
        these settings to improve, which may be changed.

        Raises:
            InputError: the streams are not those of the model config or not finite, there are too few captions, or
                the device has not the requested precision, or TensorBoard is requested and not installed.
        """
        check_source(model_config, source)
        if images:
            check_images(model_config, images[0])
        if not validation.gallery:
            raise InputError("training needs at least one validation caption with a clip")
        self.accelerator = make_accelerator(device, config.mixed_precision, scalars)
        self.device: torch.device = self.accelerator.device
        if config.batch_size < processes():
            raise InputError(f"batch-size {config.batch_size} is too small: {processes()} processes share a batch")
        torch.manual_seed(config.seed)
        self.source = source
        self.train, self.validation, self.images = train, _drawn(validation, config), images
        self.accelerator.wait_for_everyone()
        self.start, self.helps = start if start and untrained(start) else None, True
        if self.start:
            model_config = with_text_sides(model_config)
        self.data = TrainingData(source, train, model_config.experts, images, folder)
        if not self.data.steps(config):
            raise InputError(f"{len(self.data)} training captions are too few for {processes()} processes")
        self.model = (deepcopy(start) if start else MEE.learn(model_config, self.data.captions)).to(self.device)
        model_config = replace(model_config, text=self.model.config.text)  # as the encoder's folder declares
        frozen_text = informative(self.model.text_encoder)
        self.starts_closed_form = config.start == "closed-form" or (config.start == "auto" and frozen_text)
        whole = frozen_text and not any(expert.learns for expert in model_config.experts)
        if start:
            start.to(self.device)
            self.starts_closed_form, whole = self.start is not None, whole and self.start is not None
        config = config.resolved(closed_form=self.starts_closed_form or start is not None, whole=whole)
        epochs = config.epochs + (self.start is not None)  # the first of them is the closed form
        self.config = config = replace(config, epochs=epochs)
        columns = getattr(source, "columns", {})  # a source of one's own may not know of names
        if self.starts_closed_form:
            settings = with_inputs(model_config, self.data, columns, config.centres)
            self.model = self.model.with_settings(settings).to(self.device)
        self.data.prepare(self.model)
        if start:
            keep_experts(self.model, start)
        if self.starts_closed_form:
            fitted = start_closed_form(self.model, self.data, config, columns, self.start)
            config = replace(config, temperature=fitted.temperature or config.temperature)
            self.helps = fitted.helps
        self.begins = self.starts_closed_form or start is not None
        self.loss = make_loss(config)
        self.validation_tokens = self.model.tokenize(list(dict.fromkeys(self.validation.captions)), folder)
        gallery = self.validation.gallery
        self.validation_streams = load_streams(source, model_config.experts, gallery, folder, self.model)
        self.step = TrainingStep(self.model, self.loss).to(self.device)
        self.optimizer = make_optimiser(self.model, self.loss, config)
        with warnings.catch_warnings():  # torch has renamed broadcast_buffers; accelerate has not yet
            warnings.filterwarnings("ignore", ".*broadcast_buffers", FutureWarning)
            self.prepared, self.prepared_optimizer = self.accelerator.prepare(self.step, self.optimizer)
        self.generator = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed + 1_000_003 * self.accelerator.process_index)  # dropout differs by process
        self.progress = Progress()
        self.best = deepcopy(learnt_state(self.model))

    def run(self, state: Path, on_epoch: Callable[[Progress], None]) -> MEE:
        """Train until done, and return the model of the best epoch.

        The file `state` is resumed from if it exists, and replaced after each epoch; then every process calls
        `on_epoch`.

        Raises:
            InputError: the state is damaged or another run's, or a loss, a gradient or a weight is not finite.
        """
        signature = self.signature()
        if state.exists():
            load_state(state, self, signature)
            log.info("going on after epoch %d", self.progress.epoch)
        purge = {"purge_step": self.progress.step + 1}  # later steps were recorded by a stopped run
        self.accelerator.init_trackers("", init_kwargs={"tensorboard": purge})
        try:
            if self.begins and not self.progress.history:  # the start may be the best epoch, number 0
                figures = self._validate(self.start or self.model)
                self.progress.best_score = figures["MRR"]
                self.progress.history.append({"epoch": 0, **figures})
                if self.start:
                    self.progress.step = 1
                    self._note()
            while not self.progress.done(self.config):
                loss = self._train_epoch()
                self._note(loss)
                save_state(state, self, signature)
                on_epoch(self.progress)
        finally:
            for tracker in self.accelerator.trackers:  # not end_training: that ends the process group too
                tracker.finish()
        if broken := [name for name, tensor in self.best.items() if not bool(tensor.isfinite().all())]:
            raise InputError(f"training left NaN or infinity in {broken[0]}; {CALMER}")
        if self.start and not self.progress.best_epoch:
            return self.start.eval()
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
        """What must be the same to resume a stopped run."""
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
        losses: list[float] = []
        for number, batch in enumerate(self.data.batches(self.config, self.generator)):
            done, place = divmod(number, accumulate)
            group = min(accumulate, batches - done * accumulate)  # the last group may be smaller
            last = place == group - 1
            losses.append(self._batch(batch, group, last))
            if last:
                share = (done + 0.5) / math.ceil(batches / accumulate)
                set_rate(self.optimizer, rate_factor(self.config, self.progress.epoch, share))
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
        scaler = self.accelerator.scaler
        if scaler:
            scaler.unscale_(self.optimizer)
        learnt = [p for p in self.step.parameters() if p.requires_grad]
        if self.config.clip_gradient:
            norm = float(nn.utils.clip_grad_norm_(learnt, self.config.clip_gradient))
        else:
            norm = float(nn.utils.get_total_norm([p.grad for p in learnt if p.grad is not None]))
        if not scaler:  # a scaler skips such a step, and lowers its scale
            self._require_finite(norm, "gradient")
        self.prepared_optimizer.step()
        self.prepared_optimizer.zero_grad()
        self.progress.step += 1
        figures = {"loss": sum(losses) / len(losses), "learning_rate": self.optimizer.param_groups[0]["lr"]}
        self._record("train", {**figures, "gradient_norm": norm, **self.loss.figures()})

    def _require_finite(self, value: float, name: str) -> None:
        if not math.isfinite(value):
            when = f"in epoch {self.progress.epoch + 1}, step {self.progress.step + 1}"
            raise InputError(f"the {name} is {value} {when}; {CALMER}")

    def _note(self, loss: float | None = None) -> None:
        """Validate, and keep the weights if they are the best so far."""
        figures = self._validate(self.model)
        progress = self.progress
        progress.epoch += 1
        better = figures["MRR"] >= progress.best_score  # of equals the later one: it has learnt more
        if better if self.selects else self.helps:
            progress.best_epoch, progress.best_score = progress.epoch, figures["MRR"]
            self.best = deepcopy(learnt_state(self.model))
        of_batches = {} if loss is None else {"loss": loss}
        progress.history.append({"epoch": progress.epoch, **of_batches, **figures})
        self._record("validation", figures)

    def _record(self, group: str, figures: Mapping[str, float]) -> None:
        self.accelerator.log({f"{group}/{name}": value for name, value in figures.items()}, self.progress.step)

    def _validate(self, model: MEE) -> dict[str, float]:
        """Figures on the validation captions, measured by one process for all: they must not disagree."""
        numbers = [0.0] * len(FIGURES)
        if self.leads:
            pairs = self.validation
            text = encode_captions(model, pairs.captions, self.validation_tokens)
            streams = None if model is self.start else self.validation_streams
            gallery = encode_gallery(model, self.source, pairs.gallery, streams=streams)
            metrics = Retrieval.of(model, gallery, pairs, text=text).measure().t2v.metrics
            numbers = [metrics[name] for name in FIGURES]
        return dict(zip(FIGURES, joint_numbers(numbers, self.device)))


def _drawn(captions: Pairs, config: TrainConfig) -> Pairs:
    """The validation captions that choose the epoch, in their order."""
    if not 0 < config.choosing < len(captions):
        return captions
    order = torch.randperm(len(captions), generator=torch.Generator().manual_seed(config.seed))
    kept = torch.zeros(len(captions), dtype=torch.bool)
    kept[order[: config.choosing]] = True
    return captions.where(kept.tolist())


def check_images(config: ModelConfig, source: FeatureSource) -> None:
    """Check that images' appearance comes from the same extractor as the model's videos'."""
    appearance = tuple(expert for expert in config.experts if expert.name == IMAGE_MODALITY)
    if not appearance:
        raise InputError(
            f"image captions need the expert '{IMAGE_MODALITY}', and this model has "
            f"{', '.join(expert.name for expert in config.experts)}; name it in --streams, or go without --images"
        )
    check_source(replace(config, experts=appearance), source)


def make_optimiser(model: MEE, loss: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over all parameters that require gradients.

    Weight decay is on matrices only, not on biases, norms, word embeddings and the temperature; tuned layers of a
    pretrained text encoder have their own learning rate.
    """
    words = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    slow = {id(p) for tower in model.all_towers.values() for p in tower.tuned_parameters()}
    groups: list[dict[str, Any]] = []
    for rate, tuned in ((config.learning_rate, False), (config.text_learning_rate, True)):
        learn = [p for p in model.parameters() if p.requires_grad and (id(p) in slow) is tuned]
        matrices = [p for p in learn if p.ndim > 1 and id(p) not in words]
        others = [p for p in learn if p.ndim < 2 or id(p) in words]
        if not tuned:
            others += list(loss.parameters())
        for parameters, decay in ((matrices, config.weight_decay), (others, 0.0)):
            if parameters:
                groups.append({"params": parameters, "weight_decay": decay, "lr": rate, "base_rate": rate})
    return torch.optim.AdamW(groups, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Give every group its learning rate times a factor."""
    for group in optimiser.param_groups:
        group["lr"] = group["base_rate"] * factor


def rate_factor(config: TrainConfig, epoch: int, share: float) -> float:
    """Factor of the learning rate, after `epoch` whole epochs and a share, in [0, 1], of the next one's steps."""
    done = (epoch + share) / config.epochs
    risen = done / config.warmup if done < config.warmup else 1.0
    if config.schedule == "exponential":
        return float(risen * config.decay**epoch)
    if risen < 1:
        return risen
    return (1 + math.cos(math.pi * (done - config.warmup) / (1 - config.warmup))) / 2


def training_record(
    trainer: Trainer, split: Split, store: str, captions: str, annotations: Benchmark | None = None
) -> dict[str, Any]:
    """The content of training.json (mee.checkpoint) after a run on the captions of `split`.

    `annotations` are what was read from `captions`; None: your own table, whose files are not recorded.
    """
    progress = trainer.progress
    chosen_by, selected_on = ("test", "test") if split.selected_on_test else ("val", "validation")
    videos = {"val": [], "train": split.train.videos, chosen_by: split.val.videos}
    contents = {"train": video_contents(trainer.source, split.train.videos)}
    if trainer.images:
        source, pairs = trainer.images
        videos["images"] = pairs.videos
        contents["images"] = video_contents(source, pairs.videos)
    return {
        "mee": version("mee"),
        "store": store,
        "captions": captions,
        "protocol": annotations.protocol.name if annotations else FOLDER,
        "train_list": annotations.train_list if annotations else None,
        "files": dict(annotations.files) if annotations else {},
        "shortfalls": list(annotations.shortfalls) if annotations else [],
        "videos": {part: sorted(set(names)) for part, names in videos.items()},
        "contents": {part: dict(sorted(known.items())) for part, known in contents.items()},
        "left_out": list(split.left_out),
        "training": asdict(trainer.config),
        "selects": trainer.selects,  # by validation MRR, text to video; else the last epoch counts
        "selected_on": selected_on if trainer.selects else "nothing",
        "selecting_captions": len(trainer.validation),
        "best_epoch": progress.best_epoch,  # 0: what it started from, which is then kept as it was
        "best_score": progress.best_score,
        "history": progress.history,
    }
