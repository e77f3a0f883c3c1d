"""Tiny pretrained models that see or hear, with random weights, saved in the hub's format."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
import transformers

BODY = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
TOWER = {**BODY, "intermediate_size": 24}
SEES = {"image_size": 32, "patch_size": 8}
READS = {**TOWER, "vocab_size": 50, "max_position_embeddings": 10, "eos_token_id": 2}
HALVES = [0.5, 0.5, 0.5]
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
STEPS = {"do_resize": True, "do_rescale": True, "do_normalize": True}

SQUARE = {**STEPS, "size": {"height": 32, "width": 32}, "image_mean": HALVES, "image_std": HALVES}
CROPPED = {**STEPS, "do_center_crop": True, "size": {"shortest_edge": 36}, "crop_size": SQUARE["size"]}
WHOLE = {**CROPPED, "size": {"shortest_edge": 32}}

PAIR = {"text_config": READS, "vision_config": {**TOWER, **SEES}}
FILM = {**TOWER, **SEES, "num_frames": 4, "tubelet_size": 2, "decoder_num_hidden_layers": 1}
FILM |= {"decoder_hidden_size": 16, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 16}
MIT = {"num_frames": 4, "mit_hidden_size": 12, "mit_intermediate_size": 16, "mit_num_attention_heads": 2}
PREDICTOR = {"pred_hidden_size": 12, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
PREDICTOR |= {"patch_size": 8, "crop_size": 32, "frames_per_clip": 4}
GRID = {"num_patches": 16, "patch_size": 8}
REGISTERS = {"num_register_tokens": 4}
PROJECTED = {"projection_dim": 12}
PROMPT = {**PROJECTED, "prompt_num_attention_heads": 2}

NAMED = {"id2label": {0: "tench, Tinca tinca", 1: "apple_pie", 2: "playing the cello"}}
STAGES = {"hidden_sizes": [8, 12], "depths": [1, 1], "num_stages": 2}
LIKE_CONVNEXT = {**STEPS, **IMAGENET, "size": 28, "crop_pct": 0.875, "resample": 3}
LIKE_CONVNEXT |= {"feature_extractor_type": "ConvNextFeatureExtractor"}

LIKE_VIT = {**SQUARE, "resample": 2}
LIKE_DINO = {**CROPPED, **IMAGENET, "resample": 3}
LIKE_CLIP = {**WHOLE, **CLIP, "resample": 3}
LIKE_SIGLIP = {**SQUARE, "resample": 3}
LIKE_FILM = {**WHOLE, **IMAGENET, "resample": 2}
PATCHES = {**STEPS, "image_mean": HALVES, "image_std": HALVES, "resample": 2}
PATCHES |= {"patch_size": 8, "max_num_patches": 16}

# name: class that is saved but for "Model" at its end, its config, its preprocessor file
TINY = {
    "vit": ("ViT", {**TOWER, **SEES}, LIKE_VIT),
    "vit_classifier": ("ViTForImageClassification", {**TOWER, **SEES, **NAMED}, LIKE_VIT),
    "dinov2_classifier": ("Dinov2ForImageClassification", {**BODY, **SEES, "image_size": 40, **NAMED}, LIKE_DINO),
    "convnext": ("ConvNextForImageClassification", {**STAGES, **NAMED}, LIKE_CONVNEXT),
    "dinov2": ("Dinov2", {**BODY, **SEES, "image_size": 40}, LIKE_DINO),
    "dinov2_with_registers": ("Dinov2WithRegisters", {**BODY, **SEES, **REGISTERS}, LIKE_DINO),
    "dinov3_vit": ("DINOv3ViT", {**TOWER, **SEES, **REGISTERS}, {**SQUARE, **IMAGENET, "resample": 2}),
    "clip": ("CLIP", {**PAIR, **PROJECTED}, LIKE_CLIP),
    "clip_vision_model": ("CLIPVisionModelWithProjection", {**TOWER, **SEES, **PROJECTED}, LIKE_CLIP),
    "metaclip_2": ("MetaClip2", {**PAIR, **PROJECTED}, LIKE_CLIP),
    "siglip": ("Siglip", PAIR, LIKE_SIGLIP),
    "siglip_vision_model": ("SiglipVision", {**TOWER, **SEES}, LIKE_SIGLIP),
    "siglip2": ("Siglip2", {"text_config": READS, "vision_config": {**TOWER, **GRID}}, PATCHES),
    "videomae": ("VideoMAEForPreTraining", {**FILM, "use_mean_pooling": False}, LIKE_FILM),
    "videomae_classifier": ("VideoMAEForVideoClassification", {**FILM, **NAMED}, LIKE_FILM),
    "timesformer": ("TimesformerForVideoClassification", {**TOWER, **SEES, **NAMED, "num_frames": 4}, LIKE_FILM),
    "vjepa2": ("VJEPA2", {**BODY, **PREDICTOR}, {**CROPPED, **IMAGENET, "resample": 2}),
    "xclip": ("XCLIP", {"text_config": READS, "vision_config": {**TOWER, **SEES, **MIT}, **PROMPT}, LIKE_FILM),
}


def save_tiny(name: str, directory: Path, seed: int = 0, **changes) -> Path:
    """Save one of TINY, with changes to its config.json once the weights are saved."""
    kind, values, preprocessor = TINY[name]
    kind = getattr(transformers, f"{kind}Model", None) or getattr(transformers, kind)
    torch.manual_seed(seed)
    model = kind(kind.config_class(**copy.deepcopy(values)))
    with torch.no_grad():
        for parameter in model.parameters():  # far from the start of training, so that rows differ
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(directory)
    file = "video_preprocessor_config.json" if name == "vjepa2" else "preprocessor_config.json"
    write_json(directory / file, preprocessor)
    if changes:
        change_config(directory, **changes)
    return directory


AST = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
HEARS = {"hidden_size": 32, "patch_embeds_hidden_size": 16, "depths": [1, 1], "num_attention_heads": [2, 2]}
HEARS |= {"spec_size": 64, "window_size": 4, "num_mel_bins": 16}
WORDS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
WORDS |= {"vocab_size": 50}
WHISPER = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2}
WHISPER |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 60}
WHISPER |= {"max_source_positions": 100, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WHISPER |= {"decoder_start_token_id": 1}


def save_sounds(folder: Path) -> Path:
    """Save models that hear: ast, clap, clap-fused, clap-audio and whisper."""
    torch.manual_seed(0)
    sounds = {number: f"sound of {number} birds" for number in range(527)}  # as many as AudioSet
    config = transformers.ASTConfig(**AST, max_length=128, num_mel_bins=32, id2label=sounds)
    front = transformers.ASTFeatureExtractor(max_length=128, num_mel_bins=32)
    _save(folder / "ast", transformers.ASTForAudioClassification(config), front)
    for name, truncation in (("clap", "rand_trunc"), ("clap-fused", "fusion"), ("clap-audio", "fusion")):
        parts = {"audio_config": HEARS | {"enable_fusion": truncation == "fusion"}, "text_config": WORDS}
        kind, config = "ClapModel", transformers.ClapConfig(**parts, projection_dim=24)
        front = transformers.ClapFeatureExtractor(feature_size=16, max_length_s=2, truncation=truncation)
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
    frames = clip.frames[extractor.needs[0]].pixels
    recipe = extractor.inputs.recipe
    height, width = recipe.shape
    top, left = (frames.shape[1] - height) // 2, (frames.shape[2] - width) // 2
    cut = frames[:, top : top + height, left : left + width] / 255
    normed = (cut - np.array(recipe.mean)) / np.array(recipe.std)
    return torch.tensor(np.moveaxis(normed, -1, 1), dtype=torch.float32)


def change_config(directory: Path, **changes) -> None:
    """Overwrite keys of config.json; None takes one out."""
    content = json.loads((directory / "config.json").read_text())
    content.update(changes)
    write_json(directory / "config.json", {key: value for key, value in content.items() if value is not None})


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content))
