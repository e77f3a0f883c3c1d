"""Motion from video transformers: what the plain models give for the same windows."""

import numpy as np
import pytest
import torch
import transformers

from features.extractors.registry import make_extractor
from features.media.clip import FrameNeed
from tests.features.extractors.pretrained.tiny_checkpoints import pixels_of


def windows_of(extractor, clip) -> torch.Tensor:
    """(W, F, 3, h, w) what the model reads: the middle of the frames, normalised."""
    pixels = pixels_of(extractor, clip)
    return torch.stack([pixels[start : start + 4] for start in (0, 4, 7) if start + 4 <= len(pixels)])


def videomae(directory, pixels):
    model = transformers.VideoMAEModel.from_pretrained(directory).eval()
    return model(pixels).last_hidden_state.mean(1)


def fine_tuned(directory, pixels):
    model = transformers.VideoMAEForVideoClassification.from_pretrained(directory).eval()
    kept = []
    model.classifier.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    model(pixels)
    return kept[0]  # what its classifier sees


def vjepa2(directory, pixels):
    model = transformers.VJEPA2Model.from_pretrained(directory).eval()
    return model.get_vision_features(pixels).mean(1)


def xclip(directory, pixels):
    model = transformers.XCLIPModel.from_pretrained(directory).eval()
    return model.get_video_features(pixels).pooler_output


def xclip_pooled(directory, pixels):
    model = transformers.XCLIPModel.from_pretrained(directory).eval()
    states = model.vision_model(pixels.flatten(0, 1)).last_hidden_state[:, 1:]
    return states.unflatten(0, pixels.shape[:2]).mean((1, 2))


@pytest.mark.parametrize(
    ("name", "output", "plain"),
    [
        ("videomae", "pooled", videomae),
        ("videomae_classifier", "pooled", fine_tuned),
        ("vjepa2", "pooled", vjepa2),
        ("xclip", "projected", xclip),
        ("xclip", "pooled", xclip_pooled),
    ],
)
@torch.inference_mode()
def test_rows_are_those_of_the_plain_model(tiny, clip_of, name, output, plain):
    extractor = make_extractor(f"x={tiny(name)}:output={output}")
    clip = clip_of(extractor, 11)
    (stream,) = extractor.extract([clip])
    wanted = plain(tiny(name), windows_of(extractor, clip)).numpy()
    assert wanted.shape == (3, extractor.dim)
    np.testing.assert_allclose(stream.rows, wanted, atol=1e-5)
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3
    np.testing.assert_allclose(stream.times, np.array([1.5, 5.5, 8.5]) / extractor.need.fps)
    assert extractor.modality == "motion"


@torch.inference_mode()
def test_x_clip_s_projected_rows_are_in_the_space_of_its_text(tiny, clip_of):
    extractor = make_extractor(f"x={tiny('xclip')}")
    clip = clip_of(extractor, 4)
    model = transformers.XCLIPModel.from_pretrained(tiny("xclip")).eval()
    both = model(torch.tensor([[1, 7, 8, 2]]), windows_of(extractor, clip))
    (stream,) = extractor.extract([clip])
    unit = stream.rows / np.linalg.norm(stream.rows, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, both.video_embeds.numpy(), atol=1e-5)


def test_needs(tiny):
    def need(name: str, options: str = "") -> FrameNeed:
        (found,) = make_extractor(f"x={tiny(name)}{options}").needs
        return found

    assert need("videomae") == FrameNeed(fps=8, size=32, window=4, stride=4)
    assert need("videomae", ":fps=7.5,stride=2") == FrameNeed(fps=7.5, size=32, window=4, stride=2)
    assert need("vjepa2") == FrameNeed(fps=4, size=36, window=4, stride=4)
    assert need("vjepa2", ":window=2") == FrameNeed(fps=4, size=36, window=2, stride=2)
    assert need("xclip") == FrameNeed(fps=2, size=32, window=4, stride=4)


@pytest.mark.parametrize("name", ["videomae", "vjepa2", "xclip"])
def test_a_clip_shorter_than_a_window_repeats_its_last_frame_and_one_frame_has_no_motion(tiny, clip_of, name):
    extractor = make_extractor(f"x={tiny(name)}")
    clips = [clip_of(extractor, count) for count in (4, 3, 2, 1, 0)]
    whole, short, pair, still, empty = extractor.extract(clips)
    assert whole.rows.shape == short.rows.shape == pair.rows.shape == (1, extractor.dim)
    np.testing.assert_allclose(pair.times * extractor.need.fps, [0.75])  # frames 0, 1, 1, 1
    assert still is None
    assert empty is None
    (need,) = extractor.needs
    padded = clip_of(extractor, 4)
    padded.frames[need].pixels[3] = padded.frames[need].pixels[2]
    np.testing.assert_allclose(extractor.extract([padded])[0].rows, short.rows, atol=1e-5)


def test_the_predictor_of_v_jepa_2_may_lack(tiny, clip_of, tmp_path, tiny_checkpoints):
    from safetensors.torch import load_file, save_file

    tiny_checkpoints.save_tiny("vjepa2", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {key: value for key, value in weights.items() if "predictor" not in key}, tmp_path / "model.safetensors"
    )
    streams = []
    for place in (tiny("vjepa2"), tmp_path):
        extractor = make_extractor(f"x={place}")
        streams += extractor.extract([clip_of(extractor, 4)])
    np.testing.assert_array_equal(streams[0].rows, streams[1].rows)
