"""What tests/test_distributed.py starts in one, two and three processes: each leaves its figures in files.

usage: python -m torch.distributed.run --standalone --nproc_per_node N distributed_worker.py OUT [STATE]
STATE: of a run of another number of processes, which must be refused
"""

import json
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

import mee.products
import mee.training.state
from mee.config import ExpertConfig, ModelConfig
from mee.data.pairs import match_captions
from mee.distributed import joint_streams, make_accelerator, process_number, processes, share
from mee.errors import InputError
from mee.streams import Ragged
from mee.text.config import TextConfig
from mee.training.config import TrainConfig
from mee.training.data import TrainingData
from mee.training.losses import TrainingStep, make_loss
from mee.training.trainer import Trainer

DIMS = {"appearance": 5, "motion": 4, "audio": 3}
WORDS = ("red", "green", "blue", "circle", "square", "star", "drums", "rain", "dog", "moves", "stands", "turns")
CPU = torch.device("cpu")
RUN = TrainConfig(
    epochs=3, batch_size=7, accumulate=2, captions_per_video=2, stream_dropout=0.2, learning_rate=3e-3, patience=9
)


class Source:
    """Forty videos; the first half has audio, some have no appearance, and a few have motion alone."""

    name = "made"
    dims = DIMS
    fingerprints = versions = dict.fromkeys(DIMS, "made")
    columns: ClassVar = {}

    def __init__(self):
        self.failed = {}
        rng = np.random.default_rng(0)
        names = [f"v{number:02d}.mp4" for number in range(40)]
        self.clips = pd.DataFrame({"video": names, "start_s": 0.0, "end_s": 9.0}, index=names)
        self.streams = {modality: {} for modality in DIMS}
        for number, name in enumerate(names):
            audio, appearance = number < 20 and number % 7 != 3, number % 5 != 2
            there = {"audio": audio, "appearance": appearance, "motion": not appearance or number % 2}
            for modality in ("audio", "appearance", "motion"):
                if there[modality]:
                    rows = rng.normal(size=(rng.integers(1, 5), DIMS[modality]))
                    self.streams[modality][name] = rows.astype("f2")
        rng = np.random.default_rng(1)
        captions = [(name, " ".join(rng.choice(WORDS, 4))) for name in names for _ in range(3)]
        self.captions = pd.DataFrame(captions, columns=["video_id", "caption"])

    def read(self, modality, clip_ids):
        return [self.streams[modality].get(clip_id) for clip_id in clip_ids]


def model_config(dropout=0.0):
    poolings = {"appearance": ("mean", "max"), "motion": ("netvlad-3",), "audio": ("netvlad-2", "max")}
    experts = tuple(
        ExpertConfig(name=name, input_dim=DIMS[name], embed_dim=6, pooling=poolings[name], fingerprint="made")
        for name in DIMS
    )
    text = TextConfig(width=16, layers=1, heads=2, max_tokens=12, vocabulary=100, dropout=dropout)
    return ModelConfig(experts=experts, text=text, dropout=dropout)


def pairs_of(source):
    pairs, _ = match_captions(source.captions, source, partial=False)
    videos = sorted(set(pairs.videos))
    return pairs.of_videos(set(videos[::5])), pairs.of_videos(set(videos) - set(videos[::5]))


def doubled(streams):
    """In 64 bits, so that only real differences are seen."""
    return {
        name: replace(s, padded=s.padded.double()) if s.padded.is_floating_point() else s
        for name, s in streams.items()
    }


def steps():
    """Joint batches of several sizes; in the first ones the first half has audio and the last one has none."""
    source, found = Source(), {}
    _, train = pairs_of(source)
    losses = {
        "infonce": TrainConfig(),
        "margin": TrainConfig(loss="max-margin", margin=0.5),
        "published": TrainConfig(loss="max-margin", margin=0.5, margin_mean="all"),
    }
    for name, config in losses.items():
        for rows in (3, 8, 13):
            torch.manual_seed(0)
            data = TrainingData(source, train, model_config().experts)
            model = mee.model.MEE.learn(model_config(), data.captions)
            data.prepare(model)
            accelerator = make_accelerator(CPU, config.mixed_precision)
            step = TrainingStep(model, make_loss(config)).double().train()
            wrapped = accelerator.prepare(step)
            chosen = torch.linspace(0, len(data) - 1, rows).long()
            batch = data._batch(chosen, 0.3, torch.Generator().manual_seed(rows))
            for turn in range(2):  # gradients of two batches are added up
                with accelerator.no_sync(wrapped) if turn == 0 else torch.enable_grad():
                    loss = wrapped(doubled(batch.sentences), doubled(batch.clips), batch.negative)
                    accelerator.backward(loss)
            place = f"{name}/{rows}"
            statistics = {n: b for n, b in step.named_buffers() if "running" in n or "batches" in n}
            found |= {f"{place}/loss": loss.detach(), **{f"{place}/buffer/{n}": b for n, b in statistics.items()}}
            found |= {f"{place}/gradient/{n}": p.grad for n, p in step.named_parameters()}
            found[f"{place}/clips"] = torch.stack([s.available.sum() for s in batch.clips.values()])
    return found | joint_words()


def joint_words():
    """Streams of several lengths, some empty: all rows, in order, in each process, with gradients of its own."""
    rows = 7
    values = torch.arange(30, dtype=torch.float64).view(10, 3)
    own = Ragged(values, torch.tensor([0, 0, 3, 4, 4, 4, 9, 10])).only(torch.arange(rows)[share(rows)])
    own.values.requires_grad_()
    joined = joint_streams(own, rows)
    (joined.values.square().sum() / processes()).backward()  # the mean over processes follows
    torch.testing.assert_close(own.values.grad, 2 * own.values.detach())
    return {"words/rows": joined.values.detach(), "words/offsets": joined.offsets}


class Stopped(Exception):
    """Raised in the middle of a run."""


def train(state, config, dropout, stop_after=None, scalars=None):
    source = Source()
    validation, training = pairs_of(source)
    trainer = Trainer(source, training, validation, model_config(dropout), config, CPU, scalars=scalars)

    def on_epoch(progress):
        if progress.epoch == stop_after:
            raise Stopped

    with suppress(Stopped):
        trainer.run(state, on_epoch)
    return trainer


def main(out, foreign=None):
    written = []
    real = mee.training.state.save_file

    def counted(tensors, path, metadata=None):
        written.append(str(path))
        real(tensors, path, metadata=metadata)

    mee.training.state.save_file = counted
    mee.products._seconds = lambda x: 0.5 if x.dtype == torch.bfloat16 else 1.0  # bf16 runs on every processor
    found = steps()
    me = process_number()
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, out / f"steps.{me}.safetensors")
    plain = train(out / "plain.state", RUN, 0.0, scalars=out / "scalars")
    noisy = replace(RUN, mixed_precision="bf16", seed=3)
    unbroken = train(out / "unbroken.state", noisy, 0.3)
    train(out / "stopped.state", noisy, 0.3, stop_after=1)
    torch.manual_seed(me)  # what happens in between has no influence
    runs = {"plain": plain, "unbroken": unbroken, "resumed": train(out / "stopped.state", noisy, 0.3)}
    for name, trainer in runs.items():
        tensors = {key: tensor.contiguous() for key, tensor in trainer.model.state_dict().items()}
        save_file(tensors, out / f"{name}.{me}.safetensors")
    refused = ""
    if foreign:
        try:
            train(foreign, RUN, 0.0)
        except InputError as error:
            refused = str(error)
    report = {"processes": processes(), "leads": plain.leads, "written": written, "refused": refused}
    report |= {name: asdict(trainer.progress) for name, trainer in runs.items()}
    (out / f"report.{me}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*map(Path, sys.argv[1:]))
