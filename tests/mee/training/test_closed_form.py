"""The closed-form start: it ranks as the regression that its formula says, and harms nothing."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from mee.config import ExpertConfig, ModelConfig
from mee.encode import encode_captions, encode_gallery
from mee.evaluation.retrieval import Retrieval
from mee.model import MEE
from mee.text.base import TextEncoder
from mee.text.config import ENCODERS, TextConfig
from mee.training import closed_form
from mee.training.closed_form import informative, start_closed_form, with_inputs
from mee.training.config import TrainConfig
from mee.training.data import TrainingData
from mee.training.trainer import Trainer
from mee.training.whitening import Side
from tests.mee.conftest import COLOURS, WORDS, BagOfWords

CONFIG = TrainConfig(start="closed-form", shrinkage=0.5)
LINEAR = replace(CONFIG, centres=0)


@pytest.fixture(autouse=True)
def _bag_of_words(monkeypatch):
    monkeypatch.setitem(ENCODERS, "bag", "tests.mee.conftest:BagOfWords")


@pytest.fixture
def world(make_toy):
    """Motion is noise; every fifth clip has no audio."""
    return make_toy(60, missing=5, noise=0.2)


def started(world, model_config, embed_dim=12, config=LINEAR, seed=0, columns=None, **changes):
    """A model with the start, and its training data."""
    source, pairs = world
    experts = tuple(replace(expert, embed_dim=embed_dim, **changes) for expert in model_config.experts)
    torch.manual_seed(seed)
    model = MEE(ModelConfig(experts=experts, text=TextConfig(encoder="bag")), BagOfWords())
    data = TrainingData(source, pairs, model.config.experts)
    model = model.with_settings(with_inputs(model.config, data, columns or {}, config.centres))
    data.prepare(model)
    start_closed_form(model, data, config, columns or {})
    return model.eval(), data


def written_out(source, pairs, shrinkage=0.5):
    """Of audio, in double precision: clips, standardised pooled streams, whitened captions, targets, whitening."""
    clips = [clip_id for clip_id in source.clips.index if clip_id in source.streams["audio"]]
    pooled = np.array([[*s.mean(0), *s.max(0)] for s in (source.streams["audio"][c].astype("f8") for c in clips)])
    z = (pooled - pooled.mean(0)) / pooled.std(0)
    t = np.array([[caption.split().count(word) for word in WORDS] for caption in pairs.captions], dtype="f8")
    t = t - t.mean(0)

    def whitening(rows):
        spread, directions = np.linalg.eigh(rows.T @ rows / len(rows))
        kept = spread > 1e-6 * spread.max()
        return directions[:, kept] / np.sqrt(spread[kept] + shrinkage * spread[kept].mean())

    words = t @ whitening(t)
    return clips, z, words, np.array([words[pairs.videos.index(clip)] for clip in clips]), whitening


def cosines(words, image):
    return words @ image.T / np.linalg.norm(words, axis=1)[:, None] / np.linalg.norm(image, axis=1)


@pytest.mark.parametrize("config", [LINEAR, CONFIG])
def test_one_expert_ranks_as_the_regression_written_out(world, model_config, config):
    """The formulas of the module, in plain numpy and double precision."""
    model, _ = started(world, model_config, config=config)
    source, pairs = world
    clips, z, words, target, whitening = written_out(source, pairs)
    if config is LINEAR:
        image = z @ whitening(z) @ (target.T @ (z @ whitening(z)) / len(clips)).T
    else:
        square = ((z[:, None] - z) ** 2).sum(2)
        kernel = np.exp(-square / (0.5 * square.sum() / (len(z) * (len(z) - 1))))
        image = kernel @ np.linalg.solve(kernel + np.eye(len(z)), target)
    cosine = cosines(words, image)
    text = encode_captions(model, pairs.captions)
    gallery = encode_gallery(model, source, clips)
    columns = model.layout.slices[2]
    ours = (text.packed[:, columns] @ gallery.video.packed[:, columns].T).detach().numpy()
    np.testing.assert_allclose(ours, cosine, atol=0.03)  # the spare columns are a tenth as large
    assert np.corrcoef(ours.ravel(), cosine.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("config", [LINEAR, CONFIG])
def test_held_out_predictions_are_those_of_regressions_on_the_other_parts(world, model_config, config):
    model, data = started(world, model_config, config=config)
    part = closed_form._parts(data, config.seed)
    text = closed_form._text_vectors(model, data, "")
    clips = data.streams["audio"].present.nonzero().squeeze(1)
    side = Side.of(lambda: [text.values], 12, config.shrinkage)
    seen = closed_form.Seen(model, data, "audio", clips, closed_form._captions(data), text, side)
    regression, own = closed_form.fit_regression(seen, part, config.shrinkage), part[clips]
    captions, owners = data.matches()
    target = side(text.values)[captions][torch.stack([(owners == clip).nonzero()[0, 0] for clip in clips])]
    torch.testing.assert_close(seen.target(clips), target)
    expert = model.expert("audio")
    inputs = expert.inputs(data.streams["audio"].values)
    predicted = (inputs - regression.mean) @ regression.map.T
    torch.testing.assert_close(predicted.square().mean(0), regression.square, atol=1e-3, rtol=1e-3)
    for number in own.unique():
        rest, rows = own != number, own == number
        if config is CONFIG:
            among = inputs[rest][:, rest].double()
            weights = torch.linalg.solve(among + torch.eye(len(among)), target[rest].double())
            expected = inputs[rows][:, rest].double() @ weights
        else:
            white = Side.of(lambda: [inputs], 256, config.shrinkage)(inputs)
            expected = white[rows] @ white[rest].T @ target[rest] / int(rest.sum())
        held_out = regression.held_out(clips[rows])
        torch.testing.assert_close(held_out.double(), expected.double(), atol=2e-3, rtol=1e-3)


def test_of_very_few_videos_experts_weigh_the_same(make_toy, model_config):
    model, _ = started(make_toy(3), model_config, config=CONFIG)
    weights = encode_captions(model, ["something red"]).logits.softmax(-1)
    torch.testing.assert_close(weights, torch.full((1, 3), 1 / 3))


def test_more_clips_than_centres_or_a_pooling_that_learns_are_linear(world, model_config):
    for centres, changes, expected in ((60, {}, 60), (59, {}, 0), (60, {"pooling": ("netvlad-2",)}, 0)):
        model, _ = started(world, model_config, config=replace(CONFIG, centres=centres), **changes)
        kernel = model.expert("appearance").kernel
        assert (0 if kernel is None else len(kernel.centres)) == expected
        assert model.config.experts[0].centres == expected


NAMED = {"appearance": ("", *COLOURS)}


def named(world):
    """The world, whose appearance is a column of noise, then the probability of each colour."""
    source, pairs = world
    for video, rows in source.streams["appearance"].items():
        likely = np.exp(3 * rows[:, :4].astype("f8"))
        likely /= likely.sum(1, keepdims=True)
        source.streams["appearance"][video] = np.concatenate([rows[:, 4:], likely], axis=1).astype("f2")
    return replace(source, columns=NAMED), pairs


def test_a_training_run_starts_at_the_names_of_its_source(world, model_config, tmp_path):
    source, pairs = named(world)
    config = replace(model_config, text=TextConfig(encoder="bag"))
    trainer = Trainer(source, pairs, pairs, config, TrainConfig(), torch.device("cpu"))
    model = trainer.run(tmp_path / "state", lambda _: None)
    assert (model.config.experts[0].named, model.config.experts[0].centres) == (4, 60)
    vectors = model.expert("appearance").names.vectors.float()
    torch.testing.assert_close(vectors.argmax(1), torch.tensor([WORDS.index(colour) for colour in COLOURS]))
    assert trainer.progress.history[0]["epoch"] == trainer.progress.epoch == 0  # the closed form is all


@pytest.mark.parametrize("names", [NAMED, {"appearance": ("a", "b", "c", "d", "e")}])
def test_regression_learns_the_rest_around_the_names(world, model_config, names, tmp_path):
    source, pairs = named(world)
    seen, rest = pairs.of_videos(set(source.clips.index[:40])), pairs.of_videos(set(source.clips.index[40:]))
    model, _ = started((source, seen), model_config, config=CONFIG, columns=names)
    figures = Retrieval.of(model, encode_gallery(model, source, rest.gallery), rest).measure().t2v.metrics
    assert figures["R@5"] > 85
    assert model.config.experts[0].named == sum(map(bool, names["appearance"]))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = MEE(model.config, BagOfWords())
    other.load_state_dict(state)
    again = encode_gallery(other.eval(), source, rest.gallery).video
    assert again.packed.equal(encode_gallery(model, source, rest.gallery).video.packed)


def test_it_finds_unseen_clips_and_trusts_what_can_be_trusted(world, model_config):
    source, pairs = world
    seen, rest = pairs.of_videos(set(source.clips.index[:40])), pairs.of_videos(set(source.clips.index[40:]))
    for embed_dim, least in ((2, 40), (9, 85), (40, 85)):
        model, _ = started((source, seen), model_config, embed_dim)
        figures = Retrieval.of(model, encode_gallery(model, source, rest.gallery), rest).measure().t2v.metrics
        assert figures["R@5"] > least
    model, _ = started(world, model_config)
    weights = encode_captions(model, pairs.captions).logits.softmax(-1).mean(0)
    assert weights[1] < 0.15  # motion is noise


def test_gates_start_open_and_learn_and_the_regressions_columns_ignore_the_model_before(world, model_config):
    model, data = started(world, model_config)
    for unit in (*model.text_experts, *(expert.unit for expert in model.video_experts)):
        rows = torch.randn(5, unit.linear.in_features)
        torch.testing.assert_close(unit(rows), F.normalize(unit.linear(rows), dim=1))
    model.train()
    batch = next(data.batches(CONFIG, torch.Generator().manual_seed(0)))
    text, video = model.encode_text(batch.sentences), model.encode_video(batch.clips)
    (text.packed * video.packed).square().sum().backward()
    assert all(unit.norm.weight.grad.abs().max() > 0 for unit in model.text_experts)
    states = [started(world, model_config, embed_dim=4, seed=seed)[0].state_dict() for seed in (0, 99)]
    for name, tensor in states[0].items():
        if "linear" in name or "mixture" in name:
            torch.testing.assert_close(tensor, states[1][name], msg=name)


@pytest.mark.parametrize("config", [LINEAR, CONFIG])
@pytest.mark.parametrize("change", ["constant", "gone", "once"])
def test_streams_that_say_nothing_leave_everything_finite(world, model_config, change, config):
    source, pairs = world
    for clip_id in list(source.streams["motion"]):
        source.streams["motion"][clip_id] = np.ones((2, 4), np.float16)
    if change != "constant":
        kept = {"v03.mp4"} if change == "once" else set()
        source.streams["motion"] = {c: s for c, s in source.streams["motion"].items() if c in kept}
    model, _ = started((source, pairs), model_config, config=config)
    assert all(tensor.norm().isfinite() for tensor in model.state_dict().values() if tensor.is_floating_point())
    figures = Retrieval.of(model, encode_gallery(model, source, pairs.gallery), pairs).measure().t2v.metrics
    assert figures["R@10"] > 60


class Tower(BagOfWords):
    """The first five of its counts."""

    def __init__(self):
        TextEncoder.__init__(self, 5, torch.empty(0, 5))

    def tokenize(self, sentences):
        return [row[:, :5] for row in super().tokenize(sentences)]


def test_an_aligned_expert_does_not_change(world):
    source, pairs = world
    how = {"pooling": ("mean",), "standardise": False, "text": "x", "start": "identity"}
    aligned = ExpertConfig(name="appearance", input_dim=5, embed_dim=5, **how)
    free = ExpertConfig(name="audio", input_dim=3, embed_dim=4)
    config = ModelConfig(experts=(aligned, free), text=TextConfig(encoder="bag"))
    model = MEE(config, BagOfWords(), {"appearance": Tower()})
    before = {name: tensor.clone() for name, tensor in model.text_experts[0].state_dict().items()}
    data = TrainingData(source, pairs, model.config.experts)
    data.prepare(model)
    start_closed_form(model, data, CONFIG, {})
    assert all(tensor.equal(before[name]) for name, tensor in model.text_experts[0].state_dict().items())
    assert model.expert("appearance").unit.linear.weight.equal(torch.eye(5))
    assert not model.text_experts[1].linear.weight.equal(torch.zeros(4, 10))


def test_auto_starts_in_closed_form_only_where_text_vectors_are_informative(world, model_config):
    source, pairs = world
    frozen = replace(model_config, text=TextConfig(encoder="bag"))
    for config, start, expected in (
        (frozen, "auto", True),
        (frozen, "random", False),
        (model_config, "auto", False),
        (model_config, "closed-form", True),
    ):
        model = Trainer(source, pairs, pairs, config, TrainConfig(start=start), torch.device("cpu")).model
        assert bool((model.text_experts[0].norm.weight == 0).all()) is expected
        assert informative(model.text_encoder) is (config is frozen)


@given(st.integers(0, 2**31), st.integers(2, 30), st.integers(1, 12), st.floats(0.1, 10), st.integers(1, 31))
def test_a_whitened_side_never_exceeds_unit_variance_and_keeps_the_order(seed, rows, dim, shrinkage, block):
    x = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x = x * torch.logspace(0, -3, dim, dtype=torch.float64)
    side = Side.of(partial(x.split, block), 8, shrinkage)
    white = side(x)
    spread = white.square().mean(0)
    torch.testing.assert_close(side.square, spread, atol=1e-8, rtol=1e-6)
    assert white.shape[1] <= min(8, dim)
    assert (spread < 1).all()
    assert (spread.diff() <= 1e-9).all()
    torch.testing.assert_close(white.T @ white / rows, torch.diag(spread), atol=1e-8, rtol=0)
