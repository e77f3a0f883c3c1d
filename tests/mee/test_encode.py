"""Galleries: clips as the model sees them."""

from dataclasses import replace

import pytest
import torch

from mee.encode import encode_gallery, load_streams
from mee.errors import InputError
from mee.model import MEE
from mee.text.transformer import TransformerEncoder


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
def test_embeddings_are_the_models_in_the_order_asked_for_whether_prepared_or_not(
    model_config, tokenizer, source, pooling, batch_size, load_clips
):
    torch.manual_seed(0)
    experts = tuple(replace(expert, pooling=pooling) for expert in model_config.experts)
    model = MEE(replace(model_config, experts=experts), TransformerEncoder(model_config.text, tokenizer)).eval()
    ids = list(source.clips.index)[::-1]
    video = model.encode_video(load_clips(source, model.modalities, ids))
    loaded = load_streams(model, source, ids)
    prepared = encode_gallery(model, source, ids, batch_size=batch_size, streams=loaded)
    for gallery in (prepared, encode_gallery(model, source, ids, batch_size=batch_size)):
        assert gallery.clip_ids == tuple(ids)
        assert gallery.video.available.equal(video.available)
        torch.testing.assert_close(gallery.video.packed, video.packed, atol=1e-6, rtol=1e-5)
