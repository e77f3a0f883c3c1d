"""Tiny pretrained models that see or hear, with random weights, saved in the hub's format."""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import (
    CLIPConfig,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    DINOv3ViTConfig,
    MetaClip2Config,
    Siglip2Config,
    SiglipConfig,
    SiglipVisionConfig,
    VideoMAEConfig,
    ViTConfig,
    VJEPA2Config,
    XCLIPConfig,
)

BODY = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
TOWER = {**BODY, "intermediate_size": 24}
SEES = {"image_size": 32, "patch_size": 8}
READS = {**TOWER, "vocab_size": 50, "max_position_embeddings": 10, "eos_token_id": 2}
HALVES = [0.5, 0.5, 0.5]
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
STEPS = {"do_resize": True, "do_rescale": True, "do_normalize": True}

SQUARE = {**STEPS, "size": {"height": 32, "width": 32}, "image_mean": HALVES, "image_std": HALVES}
CROPPED = {
    **STEPS,
    "do_center_crop": True,
    "size": {"shortest_edge": 36},
    "crop_size": {"height": 32, "width": 32},
}
WHOLE = {**CROPPED, "size": {"shortest_edge": 32}}

# name: class that is saved, its config, its preprocessor file
TINY = {
    "vit": ("ViTModel", lambda: ViTConfig(**TOWER, **SEES), {**SQUARE, "resample": 2}),
    "vit_classifier": ("ViTForImageClassification", lambda: ViTConfig(**TOWER, **SEES), {**SQUARE, "resample": 2}),
    "dinov2": (
        "Dinov2Model",
        lambda: Dinov2Config(**BODY, **{**SEES, "image_size": 40}),
        {**CROPPED, **IMAGENET, "resample": 3},
    ),
    "dinov2_with_registers": (
        "Dinov2WithRegistersModel",
        lambda: Dinov2WithRegistersConfig(**BODY, **SEES, num_register_tokens=4),
        {**CROPPED, **IMAGENET, "resample": 3},
    ),
    "dinov3_vit": (
        "DINOv3ViTModel",
        lambda: DINOv3ViTConfig(**TOWER, **SEES, num_register_tokens=4),
        {**SQUARE, **IMAGENET, "resample": 2},
    ),
    "clip": (
        "CLIPModel",
        lambda: CLIPConfig(text_config=READS, vision_config={**TOWER, **SEES}, projection_dim=12),
        {**WHOLE, **CLIP, "resample": 3},
    ),
    "clip_vision_model": (
        "CLIPVisionModelWithProjection",
        lambda: CLIPVisionConfig(**TOWER, **SEES, projection_dim=12),
        {**WHOLE, **CLIP, "resample": 3},
    ),
    "metaclip_2": (
        "MetaClip2Model",
        lambda: MetaClip2Config(text_config=READS, vision_config={**TOWER, **SEES}, projection_dim=12),
        {**WHOLE, **CLIP, "resample": 3},
    ),
    "siglip": (
        "SiglipModel",
        lambda: SiglipConfig(text_config=READS, vision_config={**TOWER, **SEES}),
        {**SQUARE, "resample": 3},
    ),
    "siglip_vision_model": (
        "SiglipVisionModel",
        lambda: SiglipVisionConfig(**TOWER, **SEES),
        {**SQUARE, "resample": 3},
    ),
    "siglip2": (
        "Siglip2Model",
        lambda: Siglip2Config(text_config=READS, vision_config={**TOWER, "num_patches": 16, "patch_size": 8}),
        {
            **STEPS,
            "image_mean": HALVES,
            "image_std": HALVES,
            "resample": 2,
            "patch_size": 8,
            "max_num_patches": 16,
        },
    ),
    "videomae": (
        "VideoMAEForPreTraining",
        lambda: VideoMAEConfig(**TOWER, **SEES, **FILM, **DECODER, use_mean_pooling=False),
        {**WHOLE, **IMAGENET, "resample": 2},
    ),
    "videomae_classifier": (
        "VideoMAEForVideoClassification",
        lambda: VideoMAEConfig(**TOWER, **SEES, **FILM, **DECODER, use_mean_pooling=True),
        {**WHOLE, **IMAGENET, "resample": 2},
    ),
    "vjepa2": (
        "VJEPA2Model",
        lambda: VJEPA2Config(
            **BODY,
            patch_size=8,
            crop_size=32,
            frames_per_clip=4,
            pred_hidden_size=12,
            pred_num_attention_heads=2,
            pred_num_hidden_layers=1,
        ),
        {**CROPPED, **IMAGENET, "resample": 2},
    ),
    "xclip": (
        "XCLIPModel",
        lambda: XCLIPConfig(
            text_config=READS,
            vision_config={
                **TOWER,
                **SEES,
                "num_frames": 4,
                "mit_hidden_size": 12,
                "mit_intermediate_size": 16,
                "mit_num_attention_heads": 2,
            },
            projection_dim=12,
            prompt_num_attention_heads=2,
        ),
        {**WHOLE, **IMAGENET, "resample": 2},
    ),
}
FILM = {"num_frames": 4, "tubelet_size": 2}
DECODER = {
    "decoder_num_hidden_layers": 1,
    "decoder_hidden_size": 16,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
}


def save_tiny(name: str, directory: Path, seed: int = 0, **changes) -> Path:
    """Save one of TINY.

    Args:
        name: which.
        directory: where, made if it is not there.
        seed: of the weights.
        changes: to its config.json, after the weights are saved.
    """
    kind, config, preprocessor = TINY[name]
    torch.manual_seed(seed)
    model = getattr(transformers, kind)(config())
    with torch.no_grad():
        for parameter in model.parameters():  # far from the start of training, so that rows differ
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(directory)
    video = name in ("vjepa2",)
    write_json(
        directory / ("video_preprocessor_config.json" if video else "preprocessor_config.json"), preprocessor
    )
    if changes:
        change_config(directory, **changes)
    return directory


AST = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
HEARS = {"hidden_size": 32, "patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2]}
HEARS |= {"spec_size": 64, "window_size": 4, "num_mel_bins": 16}
WORDS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
WHISPER = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2}
WHISPER |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 60}
WHISPER |= {
    "max_source_positions": 100,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


def save_sounds(folder: Path) -> Path:
    """Save models that hear: ast, clap, clap-fused, clap-audio and whisper."""
    torch.manual_seed(0)
    config = transformers.ASTConfig(**AST, max_length=128, num_mel_bins=32)
    front = transformers.ASTFeatureExtractor(max_length=128, num_mel_bins=32)
    _save(folder / "ast", transformers.ASTForAudioClassification(config), front)
    for name, fuses in (("clap", False), ("clap-fused", True), ("clap-audio", True)):
        config = transformers.ClapConfig(
            audio_config=HEARS | {"enable_fusion": fuses},
            text_config=WORDS | {"vocab_size": 50},
            projection_dim=24,
        )
        front = transformers.ClapFeatureExtractor(
            feature_size=16, max_length_s=2, truncation="fusion" if fuses else "rand_trunc"
        )
        kind = "ClapModel"
        if name == "clap-audio":
            kind, config = "ClapAudioModelWithProjection", config.audio_config
        _save(folder / name, getattr(transformers, kind)(config), front)
    config = transformers.WhisperConfig(**WHISPER, num_mel_bins=16)
    front = transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    _save(folder / "whisper", transformers.WhisperForConditionalGeneration(config), front)
    return folder


def _save(folder: Path, *parts) -> None:
    for part in parts:
        part.save_pretrained(folder)


def pixels_of(extractor, clip) -> torch.Tensor:
    """(T, 3, h, w): the frames' middle, normalised by hand. The frames have the short side already."""
    frames = clip.frames[extractor.need].pixels
    height, width = extractor.recipe.shape
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    cut = frames[:, top : top + height, left : left + width] / 255
    normed = (cut - np.array(extractor.recipe.mean)) / np.array(extractor.recipe.std)
    return torch.tensor(np.moveaxis(normed, -1, 1), dtype=torch.float32)


def change_config(directory: Path, **changes) -> None:
    """Overwrite keys of config.json; None takes one out."""
    content = json.loads((directory / "config.json").read_text())
    content.update(changes)
    write_json(directory / "config.json", {key: value for key, value in content.items() if value is not None})


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content))
