"""Training: it learns, a seed decides everything, it stops where it should. Stopped runs: test_state.py."""

import json
import math
from copy import deepcopy
from dataclasses import replace

import pandas as pd
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mee.data.pairs import match_captions
from mee.data.splits import Split
from mee.distributed import make_accelerator
from mee.encode import encode_gallery
from mee.errors import InputError
from mee.evaluation.held_out import selected_on, trained_on
from mee.evaluation.retrieval import Retrieval
from mee.protocols.protocol import Benchmark
from mee.protocols.table import PROTOCOLS
from mee.text.config import TextConfig
from mee.text.transformer import TransformerEncoder
from mee.training.config import TrainConfig
from mee.training.folder import STATE, run_folder, write_checkpoint
from mee.training.trainer import ENOUGH, Trainer, rate_factor, training_record
from tests.mee import tiny_models
from tests.mee.conftest import CONFIG

CPU = torch.device("cpu")


def figures_of(model, world):
    """Text to video, on the validation captions."""
    return Retrieval.of(model, encode_gallery(model, world[0], world[2].gallery), world[2]).measure().t2v.metrics


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "max-margin"},
        {"loss": "max-margin", "margin_mean": "all", "learning_rate": 1e-2},
        {"mixed_precision": "bf16"},
        {"accumulate": 2, "learning_rate": 1e-2, "batch_size": 8},
    ],
    ids=["infonce", "max-margin", "published", "bf16", "accumulate"],
)
def test_a_toy_problem_is_learnt(make_trainer, run, world, tmp_path, changes):
    trainer = make_trainer(TrainConfig(**{"epochs": 40, "batch_size": 16, "learning_rate": 5e-3, **changes}))
    before = figures_of(trainer.model, world)
    model = run(trainer, tmp_path / "state")
    assert not model.training
    after = figures_of(model, world)
    assert before["R@1"] < 30
    assert after["R@5"] > 70
    assert after["MedR"] <= 2
    best = trainer.progress.history[trainer.progress.best_epoch - 1]
    both = best.keys() & after.keys()  # an epoch records what evaluation finds
    assert {name: best[name] for name in both} == pytest.approx({name: after[name] for name in both}, rel=1e-6)
    assert both >= {"MRR", "R@1", "R@5", "R@10", "MedR"}
    losses = [epoch["loss"] for epoch in trainer.progress.history]
    floor = 0.2 / 16 if changes.get("margin_mean") == "all" else 0  # the margin itself, on the diagonal
    assert losses[-1] - floor < (losses[0] - floor) / 2


def test_the_seed_decides_and_a_finished_run_is_not_trained_again(make_trainer, run, same, tmp_path):
    runs = ((1, "a"), (1, "b"), (2, "c"))
    first, again, other = (run(make_trainer(replace(CONFIG, seed=n)), tmp_path / name) for n, name in runs)
    assert same(first, again)
    assert not first.mixture.weight.equal(other.mixture.weight)
    finished = make_trainer(replace(CONFIG, seed=1))
    finished._train_epoch = None  # would fail if called
    assert same(run(finished, tmp_path / "a"), first)


def test_trainers_of_one_program_do_not_disturb_each_other(make_trainer, run, same, tmp_path):
    configs = {name: replace(CONFIG, mixed_precision=name, epochs=2) for name in ("no", "bf16")}
    alone = {name: run(make_trainer(config), tmp_path / f"{name} alone") for name, config in configs.items()}
    assert not alone["no"].mixture.weight.equal(alone["bf16"].mixture.weight)
    for names in (("no", "bf16"), ("bf16", "no")):
        both = {name: make_trainer(configs[name]) for name in names}  # all there are before the first one runs
        for name, trainer in both.items():
            torch.manual_seed(CONFIG.seed)
            assert same(run(trainer, tmp_path / f"{name} of {names}"), alone[name])


@pytest.mark.parametrize("pooling", [("mean", "max"), ("netvlad-2",)], ids=", ".join)
def test_a_run_from_files_is_the_run_in_memory(make_trainer, run, same, world, tmp_path, monkeypatch, pooling):
    """Streams are read a few clips at a time; what is too large for the memory is in a file without a name."""
    source, found, asked, folder = world[0], world[0].read, [], tmp_path / "of files"
    folder.mkdir()
    monkeypatch.setattr(source, "read", lambda modality, ids: asked.append(len(ids)) or found(modality, ids))
    monkeypatch.setattr("mee.encode.LOADED", 5)
    experts = tuple(replace(expert, pooling=pooling) for expert in make_trainer().model.config.experts)
    runs = []
    for limit in (1 << 20, 0):
        monkeypatch.setattr("mee.streams.IN_MEMORY", limit)
        trainer = make_trainer(folder=folder, experts=experts)
        mapped = [ragged.mapped for ragged in (*trainer.data.streams.values(), *trainer.data.text.values())]
        assert [each is not None for each in mapped] == [limit == 0] * 4
        runs.append(run(trainer, tmp_path / f"state {limit}"))
    assert same(*runs)
    assert max(asked) <= 5
    assert not list(folder.iterdir())


def test_of_many_validation_captions_the_seed_draws_those_that_choose(make_trainer, world, run, tmp_path):
    everything = world[2].captions
    drawn = [
        make_trainer(replace(CONFIG, choosing=n, seed=seed)).validation for n, seed in ((11, 0), (11, 1), (16, 0))
    ]
    assert [len(pairs) for pairs in drawn] == [11, 11, 16]
    assert drawn[0].ids == tuple(sorted(drawn[0].ids, key=int))
    assert drawn[0].ids != drawn[1].ids
    assert drawn[2].captions == make_trainer(replace(CONFIG, choosing=0)).validation.captions == everything
    trainer = make_trainer(replace(CONFIG, choosing=11, epochs=1))
    run(trainer, tmp_path / "state")
    record = training_record(trainer, Split(world[1], world[2], (), ()), "store", "captions")
    assert record["selecting_captions"] == 11
    assert record["videos"]["val"] == sorted(set(world[2].videos))  # all are held out


@pytest.mark.parametrize("loss", ["infonce", "max-margin"])
def test_accumulated_batches_give_their_mean_gradient(make_trainer, loss):
    changes = {"accumulate": 3, "clip_gradient": 0.0, "epochs": 5, "warmup": 0, "weight_decay": 0.1}
    config = TrainConfig(loss=loss, learning_rate=1e-3, batch_size=8, **changes)
    trainer = make_trainer(config, dropout=0.0)
    trainer.model.text_encoder.dropout = 0.0
    for layer in trainer.model.text_encoder.layers:
        layer.dropout = 0.0
    step = deepcopy(trainer.step).train()
    batches = list(trainer.data.batches(config, torch.Generator().manual_seed(config.seed)))
    assert len(batches) == 4  # a group of three, and one of one
    expected = []
    for group in (batches[:3], batches[3:]):
        step.zero_grad()
        torch.stack([step(batch.sentences, batch.clips, batch.negative) for batch in group]).mean().backward()
        expected.append([p.grad.clone() for p in step.parameters()])
    given, rates = [], []

    def record():  # instead of a step, so that all gradients are those of the first weights
        given.append([p.grad.clone() for p in trainer.step.parameters()])
        rates.append(trainer.optimizer.param_groups[0]["lr"])

    trainer.prepared_optimizer.step = record
    trainer._train_epoch()
    assert trainer.progress.step == len(given) == 2
    assert rates == [config.learning_rate * rate_factor(config, 0, share) for share in (0.25, 0.75)]
    for ours, theirs in zip(given, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_validation_reads_neither_captions_nor_streams_again(make_trainer, run, world, tmp_path, monkeypatch):
    captions, streams = [], []
    real_text, real_streams = TransformerEncoder.tokenize, world[0].read
    monkeypatch.setattr(
        TransformerEncoder, "tokenize", lambda self, some: captions.append(len(some)) or real_text(self, some)
    )
    world[0].read = lambda modality, ids: streams.append(modality) or real_streams(modality, ids)
    trainer = make_trainer()
    assert sorted(captions) == sorted([len(set(world[1].captions)), len(set(world[2].captions))])
    assert len(streams) == 2 * len(trainer.data.modalities)
    captions.clear()
    streams.clear()
    run(trainer, tmp_path / "state")
    assert (captions, streams) == ([], [])


def test_the_best_epoch_is_the_one_kept_and_patience_ends_the_run(make_trainer, run, tmp_path, monkeypatch):
    scores, kept = iter([10.0, 30.0, 20.0, 30.0, 5.0, 4.0, 3.0]), {}
    trainer = make_trainer(replace(CONFIG, epochs=20, patience=2))
    measure = Retrieval.measure

    def scripted(retrieval):
        measured = measure(retrieval)
        measured.t2v.metrics["MRR"] = next(scores)
        kept[len(kept) + 1] = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
        return measured

    monkeypatch.setattr(Retrieval, "measure", scripted)
    model = run(trainer, tmp_path / "state")
    assert trainer.progress.epoch == 6
    assert (trainer.progress.best_epoch, trainer.progress.best_score) == (4, 30.0)
    assert all(tensor.equal(kept[4][name]) for name, tensor in model.state_dict().items())


def test_captions_without_clips_are_left_out_and_few_choose_no_epoch(world, model_config, run, tmp_path):
    source, train, val = world
    bare = replace(train, clip_ids=((),) * 3 + train.clip_ids[3:])
    few = val.where([number < ENOUGH - 1 for number in range(len(val))])
    trainer = Trainer(source, bare, few, model_config, replace(CONFIG, patience=1), CPU)
    assert len(trainer.data) == len(train) - 3
    run(trainer, tmp_path / "state")
    assert not trainer.selects
    assert trainer.progress.epoch == trainer.progress.best_epoch == CONFIG.epochs
    with pytest.raises(InputError, match="at least one validation caption"):
        Trainer(source, train, replace(val, clip_ids=((),) * len(val)), model_config, CONFIG, CPU)


def test_packages_and_devices_that_are_missing_are_named(make_trainer, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="fp16 needs a GPU; on the CPU take --mixed-precision no"):
        make_accelerator(CPU, "fp16")
    monkeypatch.setattr("mee.products._pays_on_cpu", lambda kind: False)
    with pytest.raises(InputError, match="bf16: this processor"):
        make_trainer(replace(CONFIG, mixed_precision="bf16"))
    monkeypatch.setattr("accelerate.utils.is_tensorboard_available", lambda: False)
    with pytest.raises(InputError, match=r"mee\[tensorboard\]"):
        make_trainer(scalars=tmp_path / "scalars")


def test_training_that_comes_to_nothing_says_where_and_keeps_the_last_state(make_trainer, run, tmp_path):
    state = tmp_path / "state"
    run(make_trainer(), state, 1)
    before = state.read_bytes()
    trainer = make_trainer()
    trainer.model.mixture.weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(InputError, match=r"the gradient is nan in epoch 2, step 5;.* lower --learning-rate"):
        run(trainer, state)
    assert state.read_bytes() == before
    with pytest.raises(InputError, match=r"is (nan|inf) in epoch \d+, step \d+"):
        run(make_trainer(replace(CONFIG, learning_rate=1e38)), tmp_path / "wild")


def test_a_finished_model_is_put_in_place_whole(make_trainer, run, same, world, tmp_path):
    trainer = make_trainer(replace(CONFIG, epochs=1))
    directory = tmp_path / "model"
    directory.mkdir()
    for name in ("config.json", "model.safetensors", "text", "old"):
        (directory / name).touch()
    with run_folder(directory, overwrite=True) as folder:
        model = run(trainer, folder / STATE)
        record = training_record(trainer, Split(world[1], world[2], (), ()), "store", "captions.csv")
        write_checkpoint(model, record, directory, folder)
    assert list(tmp_path.iterdir()) == [directory]
    assert len({path.stat().st_mode for path in directory.glob("*.*")}) == 1  # others may read all, or nothing
    assert not (directory / "old").exists()
    assert same(type(model).from_pretrained(directory), model)
    written = json.loads((directory / "training.json").read_text())
    assert written["training"]["seed"] == 0
    assert len(written["history"]) == written["best_epoch"] == 1
    assert not set(written["videos"]["train"]) & set(written["videos"]["val"])


@pytest.mark.parametrize("family", [None, "bert", "gpt2"])
@pytest.mark.parametrize("captions", ["own", "equal", "one of each"])
@pytest.mark.parametrize("videos", [2, 3, 7])
def test_very_few_videos_give_a_finite_model(make_source, model_config, run, tmp_path, videos, captions, family):
    source = make_source([f"v{number}.mp4" for number in range(videos + 1)])
    verbs = ("moves",) if captions == "one of each" else ("moves", "turns")
    rows = [(v, f"a {word} {verb}") for v, word in zip(source.clips.index, tiny_models.WORDS) for verb in verbs]
    table = pd.DataFrame(rows, columns=["video_id", "caption"])
    table = table.assign(caption="a dog") if captions == "equal" else table
    pairs, first = match_captions(table, source, partial=False)[0], {source.clips.index[0]}
    if family:
        directory = tiny_models.save(family, tmp_path / family)
        text = TextConfig(encoder=str(directory), pooling=("last",), max_tokens=12)
        model_config = replace(model_config, text=text)
    train, validation = pairs.of_videos(set(pairs.videos) - first), pairs.of_videos(first)
    trainer = Trainer(source, train, validation, model_config, CONFIG, CPU)
    assert trainer.starts_closed_form == bool(family)
    model = run(trainer, tmp_path / "state")
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_a_model_with_a_number_that_is_not_finite_is_never_returned(make_trainer, run, tmp_path):
    trainer = make_trainer(replace(CONFIG, epochs=1))
    note = trainer._note

    def spoil(loss):
        trainer.model.text_experts[0].norm.running_var.fill_(math.inf)  # it scales to 0, so no figure is wrong
        note(loss)

    trainer._note = spoil
    with pytest.raises(InputError, match=r"NaN or infinity in text_experts.0.norm.running_var; start again"):
        run(trainer, tmp_path / "state")


def test_images_join_training_and_must_look_as_the_videos_do(make_trainer, run, stills, tmp_path, model_config):
    trainer = make_trainer(replace(CONFIG, image_rate=0.25), images=stills)
    assert trainer.data.steps(trainer.config) == 5  # 32 captions of videos and 8 images
    run(trainer, tmp_path / "state")
    assert trainer.progress.step == 5 * CONFIG.epochs
    with pytest.raises(InputError, match="need the expert 'appearance', and this model has motion, audio"):
        make_trainer(images=stills, experts=model_config.experts[1:])
    stills[0].fingerprints = {**stills[0].fingerprints, "appearance": "another"}
    with pytest.raises(InputError, match="'appearance' was made by another extractor"):
        make_trainer(images=stills)


@pytest.mark.parametrize("loss", ["infonce", "max-margin"])
def test_scalars_are_there_for_every_step_and_epoch(make_trainer, run, tmp_path, loss):
    trainer = make_trainer(replace(CONFIG, loss=loss, accumulate=3), scalars=tmp_path / "scalars")
    run(trainer, tmp_path / "state")
    events = EventAccumulator(str(tmp_path / "scalars")).Reload()
    steps = {f"train/{name}" for name in ("loss", "learning_rate", "gradient_norm")}
    steps |= {"train/temperature"} if loss == "infonce" else set()
    epochs = {f"validation/{name}" for name in ("MRR", "R@1", "R@5", "R@10", "MedR")}
    assert set(events.Tags()["scalars"]) == steps | epochs
    assert all([event.step for event in events.Scalars(tag)] == [*range(1, 9)] for tag in steps)
    assert all([event.step for event in events.Scalars(tag)] == [2, 4, 6, 8] for tag in epochs)
    assert all(math.isfinite(event.value) for tag in steps for event in events.Scalars(tag))
    history = [epoch["MRR"] for epoch in trainer.progress.history]
    assert [event.value for event in events.Scalars("validation/MRR")] == pytest.approx(history)


# ---- training.json: what a model was trained and selected on


@pytest.fixture
def trainer(make_trainer, world):
    source = world[0]
    source.clips = source.clips.assign(file_sha256=[f"{n:02d}" + "e" * 62 for n in range(len(source.clips))])
    return make_trainer()


@pytest.fixture
def split(world):
    return Split(world[1], world[2], ("gone.mp4",), ())


def test_what_a_record_says(trainer, split, world):
    named = {"protocol": PROTOCOLS["msrvtt-1ka"], "train_list": "9k", "files": {"test": "a.csv sha256:00"}}
    record = training_record(trainer, split, "store", "files", Benchmark(table=None, shortfalls=("few",), **named))
    assert json.loads(json.dumps(record)) == record
    assert (record["protocol"], record["train_list"]) == ("msrvtt-1ka", "9k")
    assert record["files"] == {"test": "a.csv sha256:00"}
    assert record["shortfalls"] == ["few"]
    assert record["videos"] == {part: sorted(set(world[n].videos)) for n, part in ((1, "train"), (2, "val"))}
    assert record["contents"] == {"train": {f"v{n:02d}.mp4": f"{n:02d}" + "e" * 14 for n in range(32)}}
    assert record["left_out"] == ["gone.mp4"]
    assert record["selected_on"] == selected_on(record) == "validation"
    assert trained_on(record) == "32 videos of msrvtt-1ka, list 9k"


def test_a_record_of_your_own_table_of_images_and_of_selection(trainer, make_trainer, split, stills, world):
    record = training_record(trainer, split, "store", "captions.csv")
    assert (record["protocol"], record["train_list"], record["files"]) == ("folder", None, {})
    assert trained_on(record) == "32 videos"
    on_test = replace(split, selected_on_test=True)
    record = training_record(trainer, on_test, "store", "captions.csv")
    assert record["selected_on"] == selected_on(record) == "test"
    assert record["videos"]["val"] == []
    assert record["videos"]["test"] == sorted(set(world[2].videos))
    trainer.validation = world[2].where([number < 2 for number in range(len(world[2]))])  # too few to select
    for some in (split, on_test):
        assert training_record(trainer, some, "store", "captions.csv")["selected_on"] == "nothing"
    world[0].clips = world[0].clips.drop(columns="file_sha256")
    stills[0].clips = stills[0].clips.assign(file_sha256="f" * 64)
    record = training_record(make_trainer(images=stills), split, "store", "captions.csv")
    names = [f"i{number}.png" for number in range(10)]
    assert record["videos"]["images"] == names
    assert record["contents"] == {"train": {}, "images": dict.fromkeys(names, "f" * 16)}
    assert trained_on(record) == "32 videos, and 10 images"


@pytest.mark.parametrize(
    ("record", "selected", "trained"),
    [
        ({}, "unknown", None),
        ({"videos": {"train": ["a"] * 1200, "val": ["b"]}}, "validation", "1,200 videos"),
        ({"videos": {"train": ["a"], "val": ["b"]}, "selects": False}, "nothing", "1 videos"),
        ({"videos": {"train": [], "val": []}, "selected_on": "by feeling"}, "validation", None),
        ({"videos": {"train": ["a"]}, "protocol": "msvd", "train_list": None}, "validation", "1 videos of msvd"),
    ],
)
def test_records_of_earlier_versions(record, selected, trained):
    assert selected_on(record) == selected
    assert trained_on(record) == trained
