"""Training that starts from a model: of one that needed no captions a few captions make a better one, or none."""

import numpy as np
import pytest
import torch

from mee.config import NO_TEXT
from mee.data.pairs import Pairs
from mee.encode import encode_gallery
from mee.evaluation.retrieval import Retrieval
from mee.text.config import ENCODERS, TextConfig
from mee.training.config import TrainConfig
from mee.training.trainer import Trainer
from mee.zero_shot import make_model
from tests.mee.conftest import COLOURS, SOUNDS
from tests.mee.training.test_closed_form import named

CPU = torch.device("cpu")
SENTENCES = [f"something {colour} with {sound}" for colour in COLOURS for sound in SOUNDS]


@pytest.fixture(autouse=True)
def _bag_of_words(monkeypatch):
    monkeypatch.setitem(ENCODERS, "bag", "tests.mee.training.test_closed_form:BagOfWords")


@pytest.fixture
def start_at(make_toy):
    """start_at(count, learnt, noise): a source, pairs to learn from, the others, and a model without captions.

    Appearance names colours, of which sentences speak; sounds, too, have no names. Motion is noise.
    """

    def make(count=60, learnt=40, noise=0.5):
        source, pairs = named(make_toy(count, noise=noise))
        parts = [set(source.clips.index[:learnt]), set(source.clips.index[learnt:])]
        zero = make_model(source, TextConfig(encoder="bag"), sentences=SENTENCES)
        return source, *map(pairs.of_videos, parts), zero

    return make


def shuffled(pairs, seed):
    """The same captions, of other clips."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    return Pairs(tuple(pairs.captions[n] for n in order), pairs.videos, pairs.clip_ids)


def score(model, source, pairs):
    gallery = encode_gallery(model, source, pairs.gallery)
    return Retrieval.of(model, gallery, pairs).measure().t2v.metrics["MRR"]


def bits(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def unchanged(model, before):
    return all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())


def trainer_of(source, seen, rest, zero, **settings):
    return Trainer(source, seen, rest, zero.config, TrainConfig(**settings), CPU, start=zero)


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
@pytest.mark.parametrize("seed", range(2))
def test_it_is_never_below_its_start_on_validation(start_at, run, tmp_path, seed, right):
    source, seen, rest, zero = start_at(noise=1.0 + seed)
    before, known = score(zero, source, rest), bits(zero)
    trainer = trainer_of(source, seen if right else shuffled(seen, seed), rest, zero, seed=seed, epochs=seed)
    model = run(trainer, tmp_path / "state")
    best, history = trainer.progress.best_epoch, trainer.progress.history
    assert score(model, source, rest) == pytest.approx(history[best]["MRR"], rel=1e-6)
    assert history[0]["MRR"] == pytest.approx(before, rel=1e-6)
    assert history[best]["MRR"] == max(entry["MRR"] for entry in history)
    assert [entry["epoch"] for entry in history] == list(range(2 + seed))
    assert (model is zero) is (best == 0)
    assert unchanged(zero, known)


def test_few_captions_teach_what_names_do_not_say(start_at, run, tmp_path):
    source, seen, rest, zero = start_at(noise=0.3)
    before = score(zero, source, rest)
    trainer = trainer_of(source, seen, rest, zero)
    model = run(trainer, tmp_path / "state")
    assert trainer.progress.best_epoch == 1  # the closed form
    assert score(model, source, rest) > before + 5
    texts = {expert.name: (expert.text, expert.start) for expert in model.config.experts}
    assert texts == dict.fromkeys(model.modalities, ("", "random"))
    assert [expert.text for expert in zero.config.experts] == ["", NO_TEXT, NO_TEXT]
    assert model.expert("appearance").names.vectors.equal(zero.expert("appearance").names.vectors)


@pytest.mark.parametrize(("right", "best"), [(True, 1), (False, 0)], ids=["right", "wrong"])
def test_with_few_validation_captions_parts_of_the_others_choose(start_at, run, tmp_path, right, best):
    source, seen, rest, zero = start_at(54, 48, noise=0.3)
    trainer = trainer_of(source, seen if right else shuffled(seen, 1), rest, zero)
    assert not trainer.selects
    model = run(trainer, tmp_path / "state")
    assert trainer.progress.best_epoch == best
    assert (model is zero) is not right


def test_of_too_few_captions_to_say_anything_the_start_stays(start_at, run, tmp_path):
    source, seen, rest, zero = start_at(12, 4)
    assert run(trainer_of(source, seen, rest, zero), tmp_path / "state") is zero


@pytest.mark.slow
def test_a_stopped_run_resumes_with_the_same_numbers(start_at, run, same, tmp_path):
    (source, seen, rest, zero), epochs = start_at(), 2
    whole, stopped = (tmp_path / name for name in ("whole", "stopped"))
    first = run(trainer_of(source, seen, rest, zero, epochs=epochs), whole)
    assert run(trainer_of(source, seen, rest, zero, epochs=epochs), stopped, stop_after=2) is None
    again = trainer_of(source, seen, rest, zero, epochs=epochs)
    assert same(run(again, stopped), first)
    assert again.progress.epoch == epochs + 1


def test_a_trained_model_goes_on_by_gradient_steps_from_where_it_was(start_at, run, tmp_path):
    source, seen, rest, zero = start_at()
    fields = {"learning_rate": 1e-2, "batch_size": 16}
    trained = run(trainer_of(source, seen, rest, zero), tmp_path / "first")
    before, known = score(trained, source, rest), bits(trained)
    trainer = trainer_of(source, seen, rest, trained, **fields)
    assert unchanged(trainer.model, known)  # standardised as it was
    model = run(trainer, tmp_path / "second")
    assert trainer.config.epochs == 5
    assert trainer.progress.history[0]["MRR"] == pytest.approx(before, rel=1e-6)
    assert score(model, source, rest) >= before - 1e-6
    assert model.config == trained.config
