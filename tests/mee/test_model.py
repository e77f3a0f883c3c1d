"""The whole model: what it must not read and what must not matter, whatever the pooling; galleries of clips."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mee.config import ExpertConfig, ModelConfig
from mee.data.source import load_ragged
from mee.encode import encode_captions, encode_gallery, load_streams
from mee.errors import InputError
from mee.layers.pooling import pool_streams
from mee.model import MAIN, MEE, VideoExpert
from mee.streams import Ragged, Streams
from mee.text.config import TextConfig
from mee.text.transformer import TransformerEncoder
from mee.training.losses import MaxMarginLoss

POOLINGS = [("mean", "max"), ("first", "last"), ("netvlad-2",), ("transformer",), ("max", "netvlad-3")]
SIZES = {"appearance": (5, 6), "motion": (4, 4), "audio": (3, 8)}  # of the stream, of the embedding
CLOSE = {"atol": 1e-5, "rtol": 1e-4}
by_pooling = pytest.mark.parametrize("pooling", POOLINGS, ids=", ".join)


def every_law(test):
    """For every pooling, on random clips and weights."""
    return by_pooling(hypothesis_settings(max_examples=8)(given(seed=st.integers(0, 2**31))(test)))


def made(tokenizer, pooling, seed=0, names=tuple(SIZES), missing="evidence"):
    """In eval mode, with buffers that are not what they start as."""
    torch.manual_seed(seed)
    experts = tuple(
        ExpertConfig(name=name, input_dim=SIZES[name][0], embed_dim=SIZES[name][1], pooling=pooling)
        for name in names
    )
    text = TextConfig(width=16, layers=1, heads=2, max_tokens=12)
    config = ModelConfig(experts=experts, text=text, missing=missing)
    model = MEE(config, TransformerEncoder(text, tokenizer))
    if missing == "evidence":
        torch.nn.init.normal_(model.offset)
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and "positions" not in name:
            buffer.add_(torch.rand_like(buffer))
    return model.eval()


def random_streams(seed, clips=7):
    """Streams of 0 to 5 rows by modality; every clip has one."""
    generator = torch.Generator().manual_seed(seed)
    present = torch.rand(clips, 3, generator=generator) > 0.4
    present[torch.arange(clips), torch.randint(3, (clips,), generator=generator)] = True
    streams = {}
    for number, (name, (dim, _)) in enumerate(SIZES.items()):
        lengths = torch.randint(1, 6, (clips,), generator=generator).tolist()
        rows = [torch.randn(length, dim, generator=generator) for length in lengths]
        rows = [stream if there else None for stream, there in zip(rows, present[:, number].tolist())]
        streams[name] = Ragged.of(rows, torch.empty(0, dim))
    return streams


def taken(streams, rows):
    return {name: ragged.take(torch.as_tensor(rows)) for name, ragged in streams.items()}


def spoil(clips, junk):
    """Junk wherever there is no stream: in padding, and in missing streams."""
    spoiled = {}
    for modality, streams in clips.items():
        beyond = torch.arange(streams.padded.shape[1]) >= streams.lengths[:, None]
        spoiled[modality] = Streams(streams.padded.masked_fill(beyond[..., None], junk), streams.lengths)
    return spoiled


@pytest.fixture
def clips(source, model, load_clips):
    return load_clips(source, model.modalities, list(source.clips.index))


@every_law
@torch.no_grad()
def test_missing_streams_and_padding_are_never_read(tokenizer, sentences, pooling, seed):
    model, clips = made(tokenizer, pooling, seed), taken(random_streams(seed), range(7))
    expected = model(sentences, spoil(clips, 0.0))
    for junk in (math.nan, math.inf, -1e30, 1.0):
        assert model(sentences, spoil(clips, junk)).equal(expected)


@every_law
@torch.no_grad()
def test_more_padding_and_other_company_change_nothing(tokenizer, sentences, pooling, seed):
    model, streams = made(tokenizer, pooling, seed), random_streams(seed)
    together = model(sentences, taken(streams, range(7)))
    for row in range(7):
        alone = model(sentences[2:3], taken(streams, [row]))
        torch.testing.assert_close(alone, together[2:3, row : row + 1], **CLOSE)
    shuffled = [4, 0, 6, 6, 1]
    torch.testing.assert_close(model(sentences, taken(streams, shuffled)), together[:, shuffled], **CLOSE)
    longer = {
        name: Streams(torch.cat([s.padded, torch.full_like(s.padded, torch.nan)], dim=1), s.lengths)
        for name, s in taken(streams, range(7)).items()
    }
    torch.testing.assert_close(model(sentences, longer), together, **CLOSE)


@every_law
@torch.no_grad()
def test_the_order_of_experts_changes_no_score(tokenizer, sentences, pooling, seed):
    model, clips = made(tokenizer, pooling, seed), taken(random_streams(seed), range(7))
    turned = made(tokenizer, pooling, seed + 1, names=tuple(SIZES)[::-1])
    state = {}
    for name, tensor in model.state_dict().items():
        head, _, rest = name.partition(".")
        if head in ("text_experts", "video_experts"):
            number, _, rest = rest.partition(".")
            name = f"{head}.{2 - int(number)}.{rest}"
        state[name] = tensor.flip(0) if head in ("mixture", "offset") else tensor
    turned.load_state_dict(state)
    assert turned.modalities == ("audio", "motion", "appearance")
    assert turned.layout.sizes == (8, 4, 6)
    torch.testing.assert_close(turned(sentences, clips), model(sentences, clips), **CLOSE)


@pytest.mark.parametrize("missing", ["evidence", "renormalise"])
@every_law
@torch.no_grad()
def test_a_lone_stream_scores_its_own_similarity_times_its_weight(tokenizer, sentences, pooling, missing, seed):
    model, streams = made(tokenizer, pooling, seed, missing=missing), random_streams(seed)
    text = encode_captions(model, sentences)
    weights = text.logits.softmax(1) if missing == "evidence" else torch.ones(len(sentences), 3)
    assert text.offsets.equal(model.offset.expand(len(sentences), 3))
    for m, (modality, columns) in enumerate(zip(model.modalities, model.layout.slices)):
        rows = streams[modality].present.nonzero().flatten()
        clips = taken(streams, rows)
        nowhere = torch.zeros(len(rows), dtype=torch.bool)
        clips = {name: s if name == modality else s.where(nowhere) for name, s in clips.items()}
        video = model.encode_video(clips)
        assert video.available.tolist() == [[n == m for n in range(3)]] * len(rows)
        similarity = text.packed[:, columns] @ video.packed[:, columns].T
        expected = weights[:, m, None] * (similarity - model.offset[m])
        torch.testing.assert_close(model(sentences, clips), expected, **CLOSE)


@by_pooling
def test_a_training_step_is_the_same_with_junk_in_missing_slots(tokenizer, sentences, pooling):
    clips = taken(random_streams(3, clips=6), range(6))
    results = []
    for given_clips in (spoil(clips, 0.0), spoil(clips, math.nan)):
        model = made(tokenizer, pooling).train()
        torch.manual_seed(0)  # of the dropout
        MaxMarginLoss(0.2)(model(sentences, given_clips), ~torch.eye(6, dtype=torch.bool)).backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
        results.append({**gradients, **dict(model.named_buffers())})
    one, other = results
    assert all(tensor.equal(other[name]) for name, tensor in one.items())


@by_pooling
def test_a_modality_that_a_whole_batch_misses_is_no_obstacle_in_training(tokenizer, sentences, pooling):
    model, clips = made(tokenizer, pooling).train(), taken(random_streams(0), range(7))
    clips = {name: s if name == "motion" else replace(s, lengths=0 * s.lengths) for name, s in clips.items()}
    there = clips["motion"].available
    clips = {name: Streams(s.padded[there], s.lengths[there]) for name, s in clips.items()}
    scores = model(sentences[:2], clips)
    scores.sum().backward()
    assert scores.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_embeddings_have_unit_length_where_present_and_are_zero_where_missing(model, clips, sentences):
    text, video = encode_captions(model, sentences), model.encode_video(clips)
    assert video.available.any(1).all()
    assert not video.available.all()
    for m, columns in enumerate(model.layout.slices):
        torch.testing.assert_close(video.packed[:, columns].norm(dim=1), video.available[:, m].float())
        torch.testing.assert_close(text.packed[:, columns].norm(dim=1), torch.ones(len(sentences)))
    assert text.logits.shape == (len(sentences), 3)
    read, rows = model.tokenize(sentences), torch.tensor([4, 1, 1])  # text may be tokenized before
    assert list(read) == [MAIN]
    again = model.encode_text({tower: ragged.take(rows) for tower, ragged in read.items()})
    torch.testing.assert_close(again.packed, text.packed[rows], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(again.logits, text.logits[rows], atol=1e-6, rtol=1e-5)
    shuffled = {"smell": clips["audio"], **dict(reversed(list(clips.items())))}  # read by name, and no others
    assert model(sentences, shuffled).equal(model(sentences, clips))
    without = {**clips, "motion": clips["motion"].where(torch.zeros(len(video.packed), dtype=torch.bool))}
    dropped, masked = model.encode_video(without), video.available & torch.tensor([True, False, True])
    assert dropped.available.equal(masked)
    for columns in model.layout.slices[::2]:  # of the other experts: dropping a stream is scoring with the mask
        torch.testing.assert_close(dropped.packed[:, columns], video.packed[:, columns])


def test_an_expert_with_a_tower_of_its_own_embeds_its_text_alone(model_config, tokenizer, sentences):
    torch.manual_seed(0)
    how = {"start": "identity", "standardise": False, "pooling": ("mean",), "embed_dim": 4}
    aligned = replace(model_config.experts[1], text="some/clip", **how)
    config = replace(model_config, experts=(model_config.experts[0], aligned, model_config.experts[2]))
    encoder = TransformerEncoder(model_config.text, tokenizer)
    sizes = ({"width": 20}, {"width": 4, "heads": 1})
    wide, tower = (TransformerEncoder(replace(model_config.text, **size), tokenizer) for size in sizes)
    with pytest.raises(InputError, match="'motion' cannot start as identity: its text tower 'some/clip' gives 20"):
        MEE(config, encoder, {"motion": wide})
    with pytest.raises(ValueError, match=r"text towers for \['motion'\], given are \[\]"):
        MEE(config, encoder)
    with pytest.raises(ValueError, match=r"for \[\], given are \['motion'\]"):
        MEE(model_config, encoder, {"motion": encoder})
    model = MEE(config, encoder, {"motion": tower}).eval()
    text = encode_captions(model, sentences)
    expected = torch.nn.functional.normalize(tower.encode(sentences, torch.device("cpu")), dim=1)
    torch.testing.assert_close(text.packed[:, model.layout.slices[1]], expected)  # it starts as the identity
    assert (text.logits == 0).all()


# ---- the video side of one expert: pooling once, standardisation and statistics of present rows

CONFIG = ExpertConfig(name="audio", input_dim=3, embed_dim=4)


def make_expert(pooling=("mean", "max"), dropout=0.0, **fields):
    torch.manual_seed(0)
    return VideoExpert(replace(CONFIG, pooling=pooling, **fields), dropout, 5).eval()


def ragged_streams(lengths, seed=0, dtype=np.float16):
    rng = np.random.default_rng(seed)
    rows = [torch.from_numpy((rng.normal(size=(n, 3)) + 2).astype(dtype)) if n else None for n in lengths]
    return Ragged.of(rows, torch.from_numpy(np.empty((0, 3), dtype)))


def prepared(expert, streams):
    return streams if expert.pool.learns else pool_streams(streams, expert.pool.kinds)


@by_pooling
@given(lengths=st.lists(st.integers(0, 5), max_size=7), seed=st.integers(0, 2**31))
def test_pooling_beforehand_changes_no_embedding(pooling, lengths, seed):
    expert, streams = make_expert(pooling), ragged_streams(lengths, seed)
    read = prepared(expert, streams)
    assert read.pooled is not expert.pool.learns
    assert read.present.equal(streams.present)
    embedded = expert(streams.all())
    torch.testing.assert_close(expert(read.all()), embedded, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(embedded.norm(dim=1), streams.present.float())  # a missing stream is zeros


@pytest.mark.parametrize("block", [1, 2, 3, 7, 100])
def test_streams_are_loaded_alike_whatever_the_block(monkeypatch, model, source, block):
    """One row in float32 where pooling does not learn; as the source has them where it does."""
    mean, learns = model.config.experts[0], replace(model.config.experts[1], pooling=("netvlad-2",))
    ids = [*source.clips.index[::-1], source.clips.index[0]]
    whole = {each.name: load_ragged(source, [each.name], ids)[each.name] for each in (mean, learns)}
    monkeypatch.setattr("mee.encode.LOADED", block)
    found = load_streams(source, (mean, learns), ids)
    assert found[learns.name].values.equal(whole[learns.name].values)
    assert found[learns.name].offsets.equal(whole[learns.name].offsets)
    pooled, rows = found[mean.name], [source.streams[mean.name].get(clip_id) for clip_id in ids]
    expected = [np.concatenate([s.astype("f4").mean(0), s.max(0)]) for s in rows if s is not None]
    np.testing.assert_allclose(pooled.values, np.stack(expected), atol=1e-6)
    assert (pooled.values.dtype, pooled.pooled) == (torch.float32, True)
    assert pooled.present.equal(whole[mean.name].present)
    nothing = load_streams(source, (mean, learns), [])
    assert [(len(ragged), ragged.values.shape) for ragged in nothing.values()] == [(0, (0, 10)), (0, (0, 4))]


@by_pooling
def test_absent_rows_take_no_part_in_the_batch_statistics(pooling):
    streams, expert = ragged_streams([2, 0, 5, 0, 1, 3]), make_expert(pooling).train()
    for pool in expert.pool.learnt.values():
        for layer in getattr(pool, "layers", ()):
            layer.dropout = 0.0  # what it drops depends on the shape of the batch
    state = {name: tensor.clone() for name, tensor in expert.state_dict().items()}
    expert(streams.all())
    after = {name: tensor.clone() for name, tensor in expert.state_dict().items()}
    expert.load_state_dict(state)
    expert(streams.take(torch.tensor([0, 2, 4, 5])))
    for name, tensor in expert.state_dict().items():
        torch.testing.assert_close(tensor, after[name], atol=1e-6, rtol=1e-5)


def test_standardisation_is_fitted_on_the_present_streams_only(model, source):
    for modality, streams in load_ragged(source, model.modalities, list(source.clips.index)).items():
        expert = model.expert(modality)
        expert.fit([prepared(expert, streams)])
        rows = [stream.astype(np.float64) for stream in source.streams[modality].values()]
        pooled = np.array([np.concatenate([stream.mean(0), stream.max(0)]) for stream in rows])
        np.testing.assert_allclose(expert.standardise.mean, pooled.mean(0), atol=1e-5)
        np.testing.assert_allclose(expert.standardise.deviation, pooled.std(0), atol=1e-5)


def test_a_pooling_that_learns_gets_standardised_rows_and_an_expert_need_not_standardise():
    expert, streams = make_expert(("netvlad-2",)), ragged_streams([2, 0, 5, 1], dtype=np.float32)
    expert.fit([prepared(expert, streams)])
    torch.testing.assert_close(expert.standardise.mean, streams.values.mean(0))
    plain = (streams.values - streams.values.mean(0)) / streams.values.std(0, unbiased=False)
    direct = expert.pool(Ragged(plain, streams.offsets).all().padded, streams.all().lengths)
    torch.testing.assert_close(expert.pooled(streams.all()), direct[streams.present])
    expert = make_expert(standardise=False, dropout=0.5)
    expert.fit([prepared(expert, streams)])
    assert (expert.standardise.mean == 0).all()
    assert (expert.standardise.deviation == 1).all()
    clips = streams.all()
    assert expert(clips).equal(expert(clips))
    expert.unit.eval()
    expert.training = True  # dropout acts in training only
    assert not expert(clips).equal(expert(clips))


# ---- galleries


def test_clips_without_any_stream_are_listed_and_a_gallery_may_be_empty(model, source):
    for streams in source.streams.values():
        streams.pop("v03.mp4", None)
        streams.pop("v11.mp4", None)
    gallery = encode_gallery(model, source, list(source.clips.index), batch_size=4)
    assert gallery.without_stream == ("v03.mp4", "v11.mp4")
    assert len(gallery.clip_ids) == len(gallery.video.packed) == 10
    assert gallery.video.available.any(1).all()
    for streams in source.streams.values():
        streams.clear()
    for ids in ([], sorted(source.clips.index)):
        gallery = encode_gallery(model, source, ids, batch_size=5)
        assert (gallery.clip_ids, gallery.without_stream) == ((), tuple(ids))
        assert gallery.video.packed.shape == (0, model.layout.total)
        assert gallery.video.available.shape == (0, 3)


def test_the_model_keeps_its_mode_and_learns_nothing_and_streams_must_be_its_own(model, source):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    gallery = encode_gallery(model, source, list(source.clips.index))
    assert model.training
    assert not gallery.video.packed.requires_grad
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    source.fingerprints["motion"] = "other"
    with pytest.raises(InputError, match="'motion' was made by another extractor"):
        encode_gallery(model, source, list(source.clips.index))


@pytest.mark.parametrize("batch_size", [1, 5, 256])
@pytest.mark.parametrize("pooling", [("mean", "max"), ("netvlad-3",), ("last", "transformer")], ids=", ".join)
def test_a_gallery_is_in_the_order_asked_for(model_config, tokenizer, source, pooling, batch_size, load_clips):
    torch.manual_seed(0)
    experts = tuple(replace(expert, pooling=pooling) for expert in model_config.experts)
    model = MEE(replace(model_config, experts=experts), TransformerEncoder(model_config.text, tokenizer)).eval()
    ids = list(source.clips.index)[::-1]
    video = model.encode_video(load_clips(source, model.modalities, ids))
    streams = load_streams(source, model.config.experts, ids)
    loaded = encode_gallery(model, source, ids, batch_size=batch_size, streams=streams)
    for gallery in (loaded, encode_gallery(model, source, ids, batch_size=batch_size)):
        assert gallery.clip_ids == tuple(ids)
        assert gallery.video.available.equal(video.available)
        torch.testing.assert_close(gallery.video.packed, video.packed, atol=1e-6, rtol=1e-5)
