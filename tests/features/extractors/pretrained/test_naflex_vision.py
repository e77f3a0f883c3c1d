"""SigLIP 2 at any aspect ratio."""

import numpy as np
import pytest
import torch
import transformers
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from features.extractors.registry import make_extractor

SHAPES = [(40, 60), (60, 41), (32, 32), (33, 140)]


def theirs(frames: np.ndarray) -> dict:
    """What transformers' processor makes of frames."""
    processor = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    return processor(list(frames), return_tensors="pt")


@pytest.mark.parametrize("output", ["projected", "pooled"])
@torch.inference_mode()
def test_rows_are_those_of_the_plain_model(tiny, clip_of, output):
    extractor = make_extractor(f"x={tiny('siglip2')}:output={output}")
    model = transformers.Siglip2VisionModel.from_pretrained(tiny("siglip2")).eval()
    clips = [clip_of(extractor, 2, seed, shape) for seed, shape in enumerate(SHAPES)]
    streams = extractor.extract(clips)
    for clip, stream in zip(clips, streams):
        frames = clip.frames[extractor.need].pixels
        ours = extractor.prepare(list(frames))
        their = theirs(frames)
        assert torch.equal(ours["grid"], their["spatial_shapes"])
        patches = extractor.pixels(model, ours).permute(0, 1, 3, 4, 2).flatten(2)
        real = their["pixel_attention_mask"].bool()
        distance = (patches - their["pixel_values"])[real].abs() * 127.5
        if frames.shape[1] <= frames.shape[2]:  # of tall pictures Pillow 13 scales the height first
            assert distance.max() < 1.01  # levels
        seen = model(patches, their["pixel_attention_mask"], their["spatial_shapes"])
        wanted = seen.pooler_output
        if output == "pooled":
            wanted = torch.stack([states[mask].mean(0) for states, mask in zip(seen.last_hidden_state, real)])
        np.testing.assert_allclose(stream.rows, wanted.numpy(), atol=1e-5)


def test_frames_are_decoded_at_a_square_picture_s_side(tiny):
    extractor = make_extractor(f"x={tiny('siglip2')}")
    assert extractor.need.size == 32
    assert extractor.parameters["patches"] == 16
