"""The whole model: what it must not read, and what must not matter."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mee.batch import Streams
from mee.data import load_clips
from mee.loss import MaxMarginLoss
from mee.model import MEE


@pytest.fixture
def clips(source, model):
    return load_clips(source, model.modalities, list(source.clips.index))


def spoil(clips, junk):
    """Junk wherever there is no stream: in padding, and in missing streams."""
    spoiled = {}
    for modality, streams in clips.items():
        beyond = torch.arange(streams.padded.shape[1]) >= streams.lengths[:, None]
        spoiled[modality] = Streams(streams.padded.masked_fill(beyond[..., None], junk), streams.lengths)
    return spoiled


@pytest.mark.parametrize("junk", [math.nan, math.inf, -1e30])
def test_missing_streams_and_padding_are_never_read(model, clips, sentences, junk):
    assert model(sentences, spoil(clips, junk)).equal(model(sentences, clips))


def test_training_gradients_and_statistics_are_the_same_with_junk_in_missing_slots(
    model_config, tokenizer, clips, sentences
):
    results = []
    for given in (clips, spoil(clips, math.nan)):
        torch.manual_seed(0)
        model = MEE(model_config, tokenizer).train()
        scores = model(sentences, {name: Streams(s.padded[:6], s.lengths[:6]) for name, s in given.items()})
        MaxMarginLoss(0.2)(scores, ~torch.eye(6, dtype=torch.bool)).backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
        results.append({**gradients, **dict(model.named_buffers())})
    one, other = results
    assert all(tensor.equal(other[name]) for name, tensor in one.items())


def test_embeddings_have_unit_length_where_present_and_are_zero_where_missing(model, clips, sentences):
    text, video = model.encode_text(sentences), model.encode_video(clips)
    assert video.available.any(1).all()
    assert not video.available.all()
    for m, columns in enumerate(model.layout.slices):
        norms = video.packed[:, columns].norm(dim=1)
        torch.testing.assert_close(norms, video.available[:, m].float())
        torch.testing.assert_close(text.packed[:, columns].norm(dim=1), torch.ones(len(sentences)))
    assert text.logits.shape == (len(sentences), 3)


def test_the_order_of_the_mapping_and_other_modalities_do_not_matter(model, clips, sentences):
    shuffled = {"smell": clips["audio"], **dict(reversed(list(clips.items())))}
    assert model(sentences, shuffled).equal(model(sentences, clips))


def test_in_eval_mode_neither_query_nor_clip_depends_on_its_batch(model, source, clips, sentences):
    together = model(sentences, clips)
    for row, clip_id in enumerate(source.clips.index):
        alone = model(sentences[2:3], load_clips(source, model.modalities, [clip_id]))
        torch.testing.assert_close(alone, together[2:3, row : row + 1], atol=1e-6, rtol=1e-5)


def test_dropping_a_stream_is_rescoring_with_the_mask(model, source, sentences):
    ids = [clip_id for clip_id in source.clips.index if clip_id in source.streams["motion"]]
    ids = [clip_id for clip_id in ids if any(clip_id in source.streams[name] for name in ("appearance", "audio"))]
    video = model.encode_video(load_clips(source, model.modalities, ids))
    masked = video.available.clone()
    masked[:, 1] = False
    for clip_id in ids:
        del source.streams["motion"][clip_id]
    dropped = model.encode_video(load_clips(source, model.modalities, ids))
    assert dropped.available.equal(masked)
    from mee.scoring import mee_scores

    text = model.encode_text(sentences)
    torch.testing.assert_close(
        mee_scores(text.packed, video.packed, text.logits, masked, model.layout),
        mee_scores(text.packed, dropped.packed, text.logits, dropped.available, model.layout),
    )


def test_a_modality_that_a_whole_batch_misses_is_no_obstacle_in_training(model, source, sentences):
    source.streams["audio"] = {}
    ids = [i for i in source.clips.index if i in source.streams["motion"] or i in source.streams["appearance"]]
    model.train()
    scores = model(sentences[:2], load_clips(source, model.modalities, ids[:2]))
    scores.sum().backward()
    assert scores.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_absent_rows_take_no_part_in_the_batch_statistics(model, source):
    rng = np.random.default_rng(0)
    expert = model.video_experts[2].train()
    expert.dropout = 0.0
    state = {name: tensor.clone() for name, tensor in expert.state_dict().items()}
    rows = [rng.normal(size=(2, 3)) for _ in range(4)]
    expert(Streams.pad(rows, 3))
    without = {name: tensor.clone() for name, tensor in expert.state_dict().items()}
    expert.load_state_dict(state)
    expert(Streams.pad([None, rows[0], rows[1], None, rows[2], rows[3], None], 3))
    for name, tensor in expert.state_dict().items():
        torch.testing.assert_close(tensor, without[name])


def test_standardisation_is_fitted_on_the_present_streams_only(model, source):
    batches = [load_clips(source, model.modalities, list(part)) for part in np.split(source.clips.index, 3)]
    model.fit_standardisation(batches)
    for expert, modality in zip(model.video_experts, model.modalities):
        streams = [rows.astype(np.float64) for rows in source.streams[modality].values()]
        pooled = np.array([np.concatenate([rows.mean(0), rows.max(0)]) for rows in streams])
        np.testing.assert_allclose(expert.standardise.mean, pooled.mean(0), atol=1e-5)
        np.testing.assert_allclose(expert.standardise.deviation, pooled.std(0), atol=1e-5)


def test_an_order_of_experts_is_an_order_of_columns(model_config, tokenizer):
    turned = MEE(replace(model_config, experts=model_config.experts[::-1]), tokenizer)
    assert turned.modalities == ("audio", "motion", "appearance")
    assert turned.layout.sizes == (8, 4, 6)
