"""FAMILIES: the one table, model_type of config.json -> where the class of its extractor is.

    modality     model_type                                     row           outputs (the first by default)
    appearance   vit                                            a frame       class, pooled
                 dinov2, dinov2_with_registers, dinov3_vit      a frame       class, pooled
                 clip, metaclip_2 (or _vision_model of these)   a frame       projected, class, pooled
                 siglip, siglip2 (or _vision_model of these)    a frame       projected, pooled
    motion       videomae                                       16 frames     pooled
                 vjepa2                                         16 frames     pooled
                 xclip                                          8 frames      projected, pooled
    audio        audio-spectrogram-transformer, whisper,
                 clap (or clap_audio_model)                     a piece       see
                 features.extractors.pretrained.sound

class: the class token's last state; pooled: the mean of the patch tokens' last states; projected: a vector in the
space that the model's text tower shares. Faces are two ONNX files: see features.extractors.pretrained.faces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from features.errors import InputError

FAMILIES = {
    "vit": "features.extractors.pretrained.vision:ViTExtractor",
    "dinov2": "features.extractors.pretrained.vision:DinoExtractor",
    "dinov2_with_registers": "features.extractors.pretrained.vision:DinoExtractor",
    "dinov3_vit": "features.extractors.pretrained.vision:Dino3Extractor",
    "clip": "features.extractors.pretrained.aligned_vision:ClipExtractor",
    "clip_vision_model": "features.extractors.pretrained.aligned_vision:ClipExtractor",
    "metaclip_2": "features.extractors.pretrained.aligned_vision:ClipExtractor",
    "metaclip_2_vision_model": "features.extractors.pretrained.aligned_vision:ClipExtractor",
    "siglip": "features.extractors.pretrained.aligned_vision:SiglipExtractor",
    "siglip_vision_model": "features.extractors.pretrained.aligned_vision:SiglipExtractor",
    "siglip2": "features.extractors.pretrained.aligned_vision:NaflexExtractor",
    "siglip2_vision_model": "features.extractors.pretrained.aligned_vision:NaflexExtractor",
    "videomae": "features.extractors.pretrained.video:VideoMAEExtractor",
    "vjepa2": "features.extractors.pretrained.video:VJepa2Extractor",
    "xclip": "features.extractors.pretrained.video:XClipExtractor",
    "audio-spectrogram-transformer": "features.extractors.pretrained.sound:AstExtractor",
    "clap_audio_model": "features.extractors.pretrained.sound:ClapExtractor",
    "clap": "features.extractors.pretrained.sound:ClapExtractor",
    "whisper": "features.extractors.pretrained.sound:WhisperExtractor",
}
FACES = "features.extractors.pretrained.faces:PretrainedFaceExtractor"  # of a detector and an embedder


def family_of(config: Mapping[str, Any], source: str) -> str:
    """Where the class for a checkpoint is: "module:Class"."""
    kind = config["model_type"]
    if kind not in FAMILIES:
        raise InputError(
            f"'{source}' is of type {kind}, of which no stream is made; known are {', '.join(FAMILIES)}"
        )
    return FAMILIES[kind]
