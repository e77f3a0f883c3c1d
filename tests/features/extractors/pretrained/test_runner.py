"""A model's batches and devices, and the mean of its tokens."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.extractors.pretrained.runner import mean_token, pick_device
from features.extractors.registry import make_extractor
from features.extractors.spec import RunConfig


@pytest.fixture
def small_gpu(tiny, monkeypatch):
    """An extractor whose model runs out of memory on more than 3 rows; and the sizes of the batches it saw."""
    extractor = make_extractor(f"x={tiny('vit')}", RunConfig(batch_size=16))
    extractor.load()
    forward, seen = extractor.forward, []

    def limited(model, inputs):
        seen.append(len(inputs["levels"]))
        if seen[-1] > extractor.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(model, inputs)

    extractor.room = 3
    monkeypatch.setattr(extractor, "forward", limited)
    return extractor, seen


def test_a_batch_that_does_not_fit_is_halved_and_so_are_the_next(small_gpu, tiny, clip_of, caplog):
    extractor, seen = small_gpu
    clip = clip_of(extractor, 20)
    with caplog.at_level(logging.WARNING):
        (stream,) = extractor.extract([clip])
    assert seen == [16, 8, 4, 2, *[2] * 9]
    assert "x: 16 rows at a time do not fit into the GPU's memory; going on with 8 (--batch-size)" in caplog.text
    np.testing.assert_allclose(stream.rows, make_extractor(f"x={tiny('vit')}").extract([clip])[0].rows, atol=1e-5)
    seen.clear()
    extractor.extract([clip_of(extractor, 3)])
    assert seen == [2, 1]


def test_a_row_that_does_not_fit_is_said_in_a_sentence(small_gpu, clip_of):
    extractor, _ = small_gpu
    extractor.room = 0
    with pytest.raises(
        InputError, match="not even one row at a time fits into the GPU's memory; try --precision bf16"
    ):
        extractor.extract([clip_of(extractor, 2)])


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert pick_device("cuda") == torch.device("cuda", 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_the_cpu_gives(tiny, clip_of):
    for name in ("vit", "clip", "siglip2", "videomae"):
        cpu = make_extractor(f"x={tiny(name)}", RunConfig(device="cpu"))
        gpu = make_extractor(f"x={tiny(name)}", RunConfig(device="cuda"))
        clip = clip_of(cpu, 8)
        np.testing.assert_allclose(gpu.extract([clip])[0].rows, cpu.extract([clip])[0].rows, atol=1e-3)


@given(st.integers(0, 2**31), st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_a_merged_token_counts_as_the_patches_it_was(seed, sizes):
    tokens = torch.randn(2, 1 + len(sizes), 4, generator=torch.Generator().manual_seed(seed))
    counts = torch.tensor([1, *sizes])
    apart = tokens.repeat_interleave(counts, 1)
    torch.testing.assert_close(mean_token(tokens, counts.expand(2, -1).float(), 1), mean_token(apart, None, 1))


def test_half_precision_is_averaged_in_single():
    tokens = torch.full((1, 4097, 1), 1.0, dtype=torch.bfloat16)
    assert mean_token(tokens, None).item() == 1.0
    assert mean_token(tokens, None).dtype == torch.float32
