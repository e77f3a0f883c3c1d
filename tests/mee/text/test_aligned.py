"""An expert's own text tower: before any training, the mixture scores as the two-tower models themselves do."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoTokenizer, ClapModel, CLIPModel, SiglipModel

from mee.checkpoint import fingerprint
from mee.config import ExpertConfig, ModelConfig
from mee.data.pairs import match_captions
from mee.data.source import load_ragged
from mee.errors import InputError
from mee.model import MEE
from mee.text.config import TextConfig
from mee.text.pretrained import AlignedTower
from mee.training.config import TrainConfig
from mee.training.state import learnt_state
from mee.training.trainer import Trainer
from tests.mee import tiny_models

CPU = torch.device("cpu")


def learn(directory):
    return AlignedTower.learn(TextConfig(encoder=str(directory)), [])


SENTENCES = ("a red circle moves left", "rain falls on the roof", "a dog barks", "singing")
VIDEOS = [f"v{number}.mp4" for number in range(12)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Directory of CLIP: both halves, as downloaded."""
    return tiny_models.save("clip", tmp_path_factory.mktemp("pretrained") / "clip")


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    return tiny_models.save("clap", tmp_path_factory.mktemp("pretrained") / "clap", seed=1)


@pytest.fixture(scope="module")
def config(clip, clap):
    """An appearance expert with CLIP's text half, and an audio expert with CLAP's."""
    how = {"pooling": ("mean",), "standardise": False, "start": "identity"}
    experts = tuple(
        ExpertConfig(name=name, input_dim=size, embed_dim=size, text=str(text), fingerprint=f"made-{name}", **how)
        for name, size, text in (("appearance", 12, clip), ("audio", 10, clap))
    )
    text = TextConfig(width=16, layers=1, heads=2, max_tokens=24, vocabulary=300)
    return ModelConfig(experts=experts, text=text, dropout=0.0)


@pytest.fixture(scope="module")
def streams(clip, clap):
    """Features of random pictures and sounds, by the other halves; half of the videos lack one of the two."""
    torch.manual_seed(3)
    see, hear = CLIPModel.from_pretrained(clip).eval(), ClapModel.from_pretrained(clap).eval()
    made = {"appearance": {}, "audio": {}}
    with torch.no_grad():
        for number, video in enumerate(VIDEOS):
            if number % 4 != 1:
                rows = see.get_image_features(pixel_values=torch.randn(1 + number % 3, 3, 16, 16)).pooler_output
                made["appearance"][video] = rows.numpy()
            if number % 4 != 3:
                rows = hear.get_audio_features(
                    input_features=torch.randn(2, 1, 100, 8), is_longer=torch.zeros(2, 1, dtype=torch.bool)
                )
                made["audio"][video] = rows.pooler_output.numpy()
    return made


@pytest.fixture
def source(make_source, streams):
    made = make_source(VIDEOS)
    made.streams, made.dims = dict(streams), {"appearance": 12, "audio": 10}
    return made


def text_features(kind, directory, sentences):
    """What the whole model makes of each sentence alone, without our code."""
    model, tokenizer = kind.from_pretrained(directory).eval(), AutoTokenizer.from_pretrained(directory)
    with torch.no_grad():
        inputs = [tokenizer(sentence, return_tensors="pt") for sentence in sentences]
        return torch.cat([model.get_text_features(**each).pooler_output for each in inputs])


def zero_shot(directory, kind, streams, sentences):
    """(Q, G) cosines of sentences and mean rows; NaN where the stream is missing."""
    text = F.normalize(text_features(kind, directory, sentences), dim=1)
    nothing = np.full((1, text.shape[1]), np.nan, np.float32)
    rows = torch.stack([torch.from_numpy(streams.get(video, nothing)).mean(0) for video in VIDEOS])
    return text @ F.normalize(rows, dim=1).T


def scores(model, source):
    with torch.no_grad():
        clips = {name: ragged.all() for name, ragged in load_ragged(source, model.modalities, VIDEOS).items()}
        return model(SENTENCES, clips)


@pytest.mark.parametrize("missing", ["evidence", "renormalise"])
def test_an_untrained_mixture_scores_as_the_models_do_zero_shot(config, source, streams, clip, clap, missing):
    model = MEE.learn(replace(config, missing=missing), SENTENCES).eval()
    sight = zero_shot(clip, CLIPModel, streams["appearance"], SENTENCES)
    sound = zero_shot(clap, ClapModel, streams["audio"], SENTENCES)
    both = torch.stack([sight, sound])
    expected = both.nansum(0) / 2 if missing == "evidence" else both.nanmean(0)
    assert sight.isnan().any()
    assert sound.isnan().any()
    assert expected.std() > 0.05
    torch.testing.assert_close(scores(model, source), expected, atol=1e-5, rtol=0)


def test_it_trains_is_saved_and_loaded_and_has_another_fingerprint(config, source, tmp_path, clip):
    MEE.learn(config, SENTENCES).save_pretrained(tmp_path / "untrained")
    captions = pd.DataFrame({"video_id": VIDEOS, "caption": [tiny_models.WORDS[n] for n in range(len(VIDEOS))]})
    pairs, _ = match_captions(captions, source, partial=False)
    settings = TrainConfig(epochs=12, batch_size=12, learning_rate=3e-3, stream_dropout=0.0)
    trainer = Trainer(source, pairs, pairs, config, settings, CPU)
    towers = {name: tower.model for name, tower in trainer.model.towers.items()}
    runs, before = [], {}
    for name, tower in towers.items():
        tower.register_forward_pre_hook(lambda module, args: runs.append(module))
        before[name] = {key: tensor.clone() for key, tensor in tower.state_dict().items()}
    model = trainer.run(tmp_path / "state", lambda progress: None)
    losses = [epoch["loss"] for epoch in trainer.progress.history]
    assert losses[-1] < 0.8 * losses[0]
    assert runs == []  # captions were read once, before
    for name, tower in towers.items():
        assert all(tensor.equal(before[name][key]) for key, tensor in tower.state_dict().items())
    assert not {key for key, _ in model.named_parameters() if key.startswith("towers.")} & set(learnt_state(model))

    model.save_pretrained(tmp_path / "trained")
    assert fingerprint(tmp_path / "trained") != fingerprint(tmp_path / "untrained")
    aside = clip.rename(clip.with_name("aside"))
    try:
        loaded = MEE.from_pretrained(tmp_path / "trained")
    finally:
        aside.rename(clip)
    torch.testing.assert_close(scores(loaded, source), scores(model, source), atol=1e-6, rtol=0)
    started = MEE.from_pretrained(tmp_path / "untrained")
    assert (scores(loaded, source) - scores(started, source)).abs().max() > 1e-2
    text = tmp_path / "trained" / "towers" / "audio" / "tokenizer_config.json"
    was = fingerprint(tmp_path / "trained")
    text.write_text(text.read_text() + " ")
    assert fingerprint(tmp_path / "trained") != was


@pytest.mark.parametrize("sentences", [SENTENCES, ("a " * 50 + "dog",)])
def test_clip_and_clap_give_their_own_text_features_whatever_the_batch_and_mode(clip, clap, sentences):
    for kind, directory in ((CLIPModel, clip), (ClapModel, clap)):
        tower = learn(directory).train()
        assert not any(module.training for module in tower.model.modules())
        assert tower.tuned_parameters() == tower.tokenize([]) == []
        model, tokenizer = kind.from_pretrained(directory).eval(), AutoTokenizer.from_pretrained(directory)
        for sentence, row, got in zip(sentences, tower.tokenize(sentences), tower.encode(sentences, CPU)):
            assert row.shape == (1, tower.dim)
            torch.testing.assert_close(tower.tokenize([sentence])[0], row, atol=1e-6, rtol=1e-5)
            ids = tokenizer(sentence, truncation=True, max_length=20, return_tensors="pt")
            expected = model.get_text_features(**ids).pooler_output[0]
            if kind is ClapModel:  # it brings them to unit length, as the gated unit will
                got = F.normalize(got, dim=0)
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
def test_siglip_reads_sentences_padded_to_their_full_length(tmp_path, side):
    directory = tiny_models.save("siglip", tmp_path / "siglip")
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"padding_side": side}))
    tower = learn(directory)
    model, tokenizer = SiglipModel.from_pretrained(directory).eval(), AutoTokenizer.from_pretrained(directory)
    assert tokenizer.padding_side == side
    ids = tokenizer(list(SENTENCES), padding="max_length", truncation=True, max_length=12, return_tensors="pt")
    expected = model.get_text_features(input_ids=ids["input_ids"]).pooler_output
    torch.testing.assert_close(tower.encode(SENTENCES, CPU), expected, atol=1e-5, rtol=1e-5)


def test_attention_is_shares_over_the_tokens_and_what_is_no_text_tower_is_refused(tmp_path, clip):
    tower = learn(clip)
    sight = tower.attention("a red dog")
    assert sight.tokens == ("<s>", "a", "red", "dog", "<end>")
    assert sight.weights.shape == (2, 2, 5, 5)
    torch.testing.assert_close(sight.weights.sum(-1), torch.ones(2, 2, 5))
    with pytest.raises(InputError, match=r"is of type bert; the text tower of an expert must be of type clip, "):
        learn(tiny_models.save("bert", tmp_path / "bert"))
    with pytest.raises(InputError, match=r"empty \(number 1 of 1\)"):
        tower.tokenize([" "])
    (tmp_path / "saved").mkdir()
    tower.save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["model_type"] == "clip"
    (tmp_path / "saved" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="has no tokenizer"):
        AlignedTower.load(TextConfig(encoder="gone"), tmp_path / "saved")
