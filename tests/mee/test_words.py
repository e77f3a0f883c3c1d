"""Experts of words, and those without a text side, through the whole model: from encoding to training."""

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

from mee import encode
from mee.config import NO_TEXT, ExpertConfig, ModelConfig
from mee.encode import encode_captions, encode_gallery, load_streams
from mee.export import OUTPUTS, export_text
from mee.model import MEE
from mee.scoring import mee_scores
from mee.text.config import TextConfig
from mee.text.pretrained import AlignedTower, PretrainedEncoder
from mee.training.config import TrainConfig
from mee.training.data import TrainingData
from mee.training.losses import TrainingStep, make_loss
from mee.training.trainer import Trainer
from tests.mee import tiny_models
from tests.mee.conftest import SOUNDS, Spoken, refusal

CPU = torch.device("cpu")
QUERIES = ("a red circle", "drums", "a dog barks")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Of a language model, and of the text half of a two-tower model."""
    place = tmp_path_factory.mktemp("models")
    return {family: str(tiny_models.save(family, place / family)) for family in ("bert", "clip")}


@pytest.fixture
def source(make_toy):
    """What is said names the sound, in two of three clips; what is written is the same."""
    toy, pairs = make_toy(48)
    said = {
        clip_id: [(0.0, 1.0, "something"), (2.0, 3.0, f"a {SOUNDS[number // 4 % 4]}"), (4.0, 5.0, "stands still")]
        for number, clip_id in enumerate(toy.clips.index)
        if number % 3
    }
    found = Spoken(
        {"appearance": toy.streams["appearance"], "motion": toy.streams["motion"]},
        toy.clips,
        dims={"appearance": 5, "motion": 4, "speech": 0, "text": 0},
        fingerprints=dict.fromkeys(("appearance", "motion", "speech", "text"), "made"),
        said=said,
    )
    found.streams["appearance"].pop("v06.mp4")  # it has motion, and no words
    found.streams["motion"].pop("v07.mp4")
    return found, pairs


def settings(folders, **changes):
    common = {"fingerprint": "made", "pooling": ("mean",)}
    words = {"input_dim": 0, "words": True, "start": "identity", **common}
    experts = (
        ExpertConfig(name="appearance", input_dim=5, embed_dim=6, **common),
        ExpertConfig(name="speech", embed_dim=16, **words),
        ExpertConfig(name="motion", input_dim=4, embed_dim=4, text=NO_TEXT, start="identity", **common),
        ExpertConfig(name="text", embed_dim=12, text=folders["clip"], **words),
    )
    text = TextConfig(encoder=folders["bert"])
    return replace(ModelConfig(experts=experts, text=text, dropout=0.0), **changes)


@pytest.fixture
def model(folders, source):
    torch.manual_seed(0)
    made = MEE.learn(settings(folders), ["a dog"])
    made.expert("motion").fit(
        load_streams(source[0], made.config.experts[2:3], list(source[0].clips.index)).values()
    )
    torch.nn.init.normal_(made.mixture.weight, std=0.3)
    torch.nn.init.normal_(made.offset, std=0.2)
    return made.eval()


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("missing", ["evidence", "renormalise"])
def test_scores_are_those_of_the_equations(folders, source, missing):
    """In float64: each utterance by its text encoder, the best one, softmax over the experts with a text side."""
    torch.manual_seed(0)
    model, (store, _) = MEE.learn(settings(folders, missing=missing), []).eval(), source
    torch.nn.init.normal_(model.mixture.weight, std=0.3)
    ids = list(store.clips.index)[:12]
    gallery = encode_gallery(model, store, ids)
    text = encode_captions(model, QUERIES)
    scores = mee_scores(
        text.packed, gallery.video.packed, text.logits, gallery.video.available, model.layout, text.offsets,
        gallery.video.words,
    )  # fmt: skip
    vectors = {
        name: {t: unit(tower.encode([t], CPU).double().numpy()[0]) for t in (*QUERIES, *spoken(store))}
        for name, tower in model.all_towers.items()
    }
    h = model.text_encoder.encode(QUERIES, CPU)
    logits = model.mixture(h).detach().double().numpy()
    logits[:, 2] = -np.inf
    seen = unit(model.text_unit("appearance")(h).detach().double().numpy())
    shown = model.expert("appearance")(load_streams(store, model.config.experts[:1], ids)["appearance"].all())
    for q, query in enumerate(QUERIES):
        for g, clip_id in enumerate(gallery.clip_ids):
            similarity = {}
            if clip_id in store.streams["appearance"]:
                similarity[0] = seen[q] @ shown[g].detach().double().numpy()
            for m, tower in ((1, ""), (3, "text")):
                said = [vectors[tower][t] @ vectors[tower][query] for *_, t in store.said.get(clip_id, ())]
                if said:
                    similarity[m] = max(said)
            counted = [0, 1, 3] if missing == "evidence" else list(similarity)
            weights = {m: np.exp(logits[q, m]) / np.exp(logits[q, counted]).sum() for m in counted}
            expected = sum(weights[m] * value for m, value in similarity.items())
            assert float(scores[q, g]) == pytest.approx(expected, abs=1e-5)
    assert scores[:, gallery.clip_ids.index("v06.mp4")].eq(0).all() if missing == "evidence" else True


def spoken(store):
    return dict.fromkeys(text for utterances in store.said.values() for *_, text in utterances)


@pytest.mark.parametrize(("batch_size", "padded"), [(1, 1 << 16), (5, 1 << 16), (256, 7), (256, 1)])
def test_padding_and_company_change_nothing(model, source, monkeypatch, batch_size, padded):
    store, ids = source[0], list(source[0].clips.index)
    store.said[ids[1]] = [(0.0, 1.0, "a dog")] * 30
    expected = encode_gallery(model, store, ids)
    monkeypatch.setattr(encode, "PADDED", padded)
    held = load_streams(store, model.config.experts, ids, model=model)
    for streams in (None, held):
        found = encode_gallery(model, store, ids, batch_size=batch_size, streams=streams)
        assert found.clip_ids == expected.clip_ids
        torch.testing.assert_close(found.video.packed, expected.video.packed, atol=1e-6, rtol=0)
        assert found.video.available.equal(expected.video.available)
        for name, rows in expected.video.words.items():
            assert found.video.words[name].offsets.equal(rows.offsets)
            torch.testing.assert_close(found.video.words[name].values, rows.values, atol=1e-6, rtol=0)
    for m, name in enumerate(model.modalities):  # rows of words stand beside zeros
        there, columns = expected.video.available[:, m], expected.video.packed[:, model.layout.slices[m]]
        assert columns.any(1).equal(there & (name not in model.layout.words))
    order = torch.randperm(len(ids))
    turned = expected.video[order]
    for name, rows in turned.words.items():
        assert rows.offsets.diff().equal(expected.video.words[name].offsets.diff()[order])
        assert rows.values.norm(dim=1).allclose(torch.ones(len(rows.values)))


def test_each_sentence_is_read_once_and_by_another_run_never(model, source, monkeypatch):
    store, ids, read = source[0], list(source[0].clips.index), []
    for kind in (PretrainedEncoder, AlignedTower):
        real = kind.tokenize
        monkeypatch.setattr(kind, "tokenize", lambda self, some, real=real: read.extend(some) or real(self, some))
    first = encode_gallery(model, store, ids, batch_size=5)
    assert sorted(read) == sorted([*spoken(store)] * 2)  # by two encoders
    again = encode_gallery(model, store, ids)
    assert len(read) == 2 * len(spoken(store))
    assert again.video.words["speech"].values.equal(first.video.words["speech"].values)
    assert encode_gallery(model, store, []).video.words["speech"].values.shape == (0, 16)


def test_a_saved_model_is_the_same_and_has_nothing_that_is_not_used(model, source, tmp_path):
    model.save_pretrained(tmp_path / "model")
    again = MEE.from_pretrained(tmp_path / "model")
    assert again.config == model.config
    ids = list(source[0].clips.index)
    one, other = (encode_gallery(each, source[0], ids).video for each in (model, again))
    assert one.packed.equal(other.packed)
    assert all(one.words[name].values.equal(other.words[name].values) for name in model.layout.words)
    texts = [encode_captions(each, QUERIES) for each in (model, again)]
    assert texts[0].logits.equal(texts[1].logits)
    assert texts[0].logits[:, 2].isneginf().all()
    torch.testing.assert_close(texts[0].packed, texts[1].packed)
    names = {name.rpartition(".")[0] for name in load_file(tmp_path / "model" / "model.safetensors")}
    assert not {name for name in names if name.startswith("text_experts.2")}
    parts = {name.removeprefix("video_experts.1.") for name in names if name.startswith("video_experts.1.")}
    assert parts == {"unit.linear", "unit.gate", "unit.norm"}


HOSTILE = {
    "trainable": lambda c: c["text"].update(encoder="transformer"),
    "size": lambda c: c["experts"][1].update(embed_dim=8),
    "columns": lambda c: c["experts"][1].update(input_dim=5),
    "no-columns": lambda c: c["experts"][0].update(input_dim=0),
    "pooling": lambda c: c["experts"][1].update(pooling=["netvlad-2"]),
    "random": lambda c: c["experts"][1].update(start="random"),
    "names": lambda c: c["experts"][0].update(start="names"),
    "silent": lambda c: c["experts"][3].update(text=NO_TEXT),
    "asked": lambda c: c["experts"][2].update(text=""),
    "older": lambda c: c.update(format=4),
}


@pytest.mark.parametrize("change", HOSTILE)
def test_settings_that_make_no_model_are_refused(model, folders, tmp_path, change, says):
    model.save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    content = json.loads(path.read_text())
    HOSTILE[change](content)
    path.write_text(json.dumps(content))
    says(refusal(MEE.from_pretrained, tmp_path / "model").replace(folders["bert"], "BERT"))


def test_an_encoder_that_learns_reads_no_words(folders, model_config, says):
    says(refusal(MEE.learn, settings(folders, text=model_config.text), list(QUERIES)))


def test_unused_weights_are_refused(model, tmp_path, says):
    model.save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    save_file(load_file(path) | {"text_experts.2.linear.bias": torch.zeros(4)}, path)
    says(refusal(MEE.from_pretrained, tmp_path / "model"))


def test_an_utterance_without_words_is_refused(model, source, says):
    source[0].said["v05.mp4"] = [(0.0, 1.0, "drums"), (1.0, 2.0, " \n")]
    says(refusal(encode_gallery, model, source[0], list(source[0].clips.index)))


def test_the_text_side_without_torch_gives_the_same_logits(model, tmp_path):
    exported = export_text(model, tmp_path / "graph.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    for query in QUERIES:
        ids = {
            f"ids-{n}": tower._ids([query])[0][None].numpy() for n, tower in enumerate(model.all_towers.values())
        }
        found = dict(zip(OUTPUTS, session.run(list(OUTPUTS), {**ids, **exported.weights})))
        text = encode_captions(model, [query])
        for name in OUTPUTS:
            np.testing.assert_allclose(found[name], getattr(text, name).detach(), atol=1e-5)
        assert np.isneginf(found["logits"]).tolist() == [[False, False, True, False]]


# ---- training


def test_training_reads_words_once_and_hides_what_no_sentence_reaches(model, source):
    store, pairs = source
    data = TrainingData(store, pairs, model.config.experts)
    assert len(data) == 47  # of the clip that has motion alone a caption says nothing
    data.prepare(model)
    data.prepare(model)  # streams are vectors now
    clips = data.clips(torch.arange(48))
    expected = load_streams(store, model.config.experts, pairs.gallery, model=model)
    for name in model.layout.words:
        assert data.streams[name].values.equal(expected[name].values)
        assert clips[name].padded.shape == (48, 3, {"speech": 16, "text": 12}[name])
    motion = data.streams["motion"].values
    torch.testing.assert_close(model.expert("motion").standardise.mean, motion.mean(0), atol=0.05, rtol=0)
    for batch in data.batches(TrainConfig(batch_size=8, stream_dropout=0.5), torch.Generator().manual_seed(0)):
        assert not batch.clips["motion"].available.any()
        there = torch.stack([streams.available for streams in batch.clips.values()], dim=1)
        assert there.any(1).all()


@pytest.mark.parametrize("missing", ["evidence", "renormalise"])
def test_gradients_reach_the_units_of_words_and_no_others_of_what_is_silent(folders, source, missing):
    torch.manual_seed(0)
    model = MEE.learn(settings(folders, missing=missing), [])
    data = TrainingData(*source, model.config.experts)
    data.prepare(model)
    config = TrainConfig(batch_size=16)
    step = TrainingStep(model, make_loss(config)).train()
    (batch, *_) = data.batches(config, torch.Generator().manual_seed(0))
    step(batch.sentences, batch.clips, batch.negative).backward()
    for m, name in enumerate(model.modalities):
        for side in (model.text_experts[m], model.video_experts[m]):
            gradients = [p.grad for p in side.parameters() if p.grad is not None]
            assert all(gradient.isfinite().all() for gradient in gradients)
            assert any(gradient.any() for gradient in gradients) is (name != "motion")
    assert model.mixture.weight.grad[2].eq(0).all()


@pytest.mark.parametrize("start", [pytest.param("closed-form", marks=pytest.mark.slow), "random"])
def test_a_trained_mixture_listens_to_what_is_said(folders, source, tmp_path, start):
    store, pairs = source
    videos = sorted(set(pairs.videos))
    train, validation = (pairs.of_videos(set(some)) for some in (videos[:32], videos[32:]))
    config = TrainConfig(epochs=2, batch_size=8, start=start)
    trainer = Trainer(store, train, validation, settings(folders), config, CPU)
    model = trainer.run(tmp_path / "state", lambda progress: None)
    assert model.modalities == ("appearance", "speech", "motion", "text")
    assert all(np.isfinite(entry["MRR"]) for entry in trainer.progress.history)
    text = encode_captions(model, pairs.captions)
    assert text.logits[:, 2].isneginf().all()
    assert text.logits[:, [0, 1, 3]].isfinite().all()
    if start == "closed-form":
        identity = torch.eye(16)
        kept = MEE.learn(settings(folders), []).expert("speech").unit.linear.weight
        assert kept.equal(identity)
        assert (model.expert("speech").unit.linear.weight - identity).abs().max() < 0.05  # few small steps
        assert trainer.progress.history[0]["epoch"] == 0
