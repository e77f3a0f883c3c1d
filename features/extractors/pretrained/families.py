"""FAMILIES: the one table of pretrained models, model_type of config.json -> how its streams are made.

    modality     model_type                       row         outputs (the first by default)
    appearance   efficientnet-lite0 (a package)   a frame     pooled
                 vit                              a frame     class, pooled
                 dinov2, dinov2_with_registers    a frame     class, pooled
                 dinov3_vit                       a frame     class, pooled
                 clip, metaclip_2                 a frame     projected, class, pooled
                 siglip, siglip2                  a frame     projected, pooled
                 any other image classifier, timm a frame     labels
    motion       videomae                         16 frames   pooled
                 vjepa2                           16 frames   pooled
                 xclip                            8 frames    projected, pooled
                 timesformer                      8 frames    labels
    audio        audio-spectrogram-transformer    10.24 s     pooled, class
                 clap                             10 s        projected, pooled
                 whisper (its encoder)            30 s        pooled
    face         two ONNX files: features.extractors.pretrained.faces
    speech       Whisper, for its words: features.extractors.pretrained.speech

    class       the class token's last state, after the norm
    pooled      the mean of the patch tokens' last states, without class and register tokens; for AST, the mean of
                the class and the distillation token; for Whisper, the mean of the states that are not padding;
                EfficientNet's mean is followed by the probabilities of its classes, whose names the columns have
    labels      of a checkpoint with a classifier: the probabilities of its classes, whose names the columns have
                (features.extractors.pretrained.classifiers)
    projected   a vector in the space of the model's text tower, not normalised: its cosine with a sentence's
                vector is the zero-shot score. SigLIP's is that of its pooling head, X-CLIP's that of its MIT

A new family is one row, and one function that gives the rows of a batch. A tower that was saved alone
(clip_vision_model, …) is of the same family; without its projection it has no output projected. SigLIP 2 is of
type siglip at a fixed resolution, of type siglip2 at any aspect ratio (NaFlex).

ViT: Dosovitskiy et al., arXiv 2010.11929. DINOv2: Oquab et al., arXiv 2304.07193; registers: Darcet et al., arXiv
2309.16588. DINOv3: Siméoni et al., arXiv 2508.10104. CLIP: Radford et al., arXiv 2103.00020. MetaCLIP 2: arXiv
2507.22062. SigLIP: Zhai et al., arXiv 2303.15343. SigLIP 2: Tschannen et al., arXiv 2502.14786. VideoMAE: Tong et
al., arXiv 2203.12602. V-JEPA 2: Assran et al., arXiv 2506.09985. X-CLIP: Ni et al., arXiv 2208.02816. AST: Gong,
Chung, Glass, Interspeech 2021. CLAP: Wu et al., ICASSP 2023. Whisper: Radford et al., ICML 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from features.errors import InputError
from features.extractors.base import Extractor
from features.extractors.pretrained.checkpoint import LITE, TIMM, Architecture, is_faces, read_config, whole_number
from features.extractors.pretrained.classifiers import classifies, imagenet_names
from features.extractors.pretrained.extractor import Batch, Family, ModelConfig, PretrainedExtractor, size
from features.extractors.pretrained.inputs import AST_FRAME, AST_HOP, FrontEnd, Pictures, Sound
from features.extractors.pretrained.recipe import BICUBIC, BILINEAR, CLIP, HALVES, IMAGENET, cropped, squeezed
from features.extractors.pretrained.speech import SpeechExtractor, is_speech
from features.extractors.spec import ExtractorSpec, RunConfig, positive_option

if TYPE_CHECKING:
    from torch import Tensor


def make_pretrained(spec: ExtractorSpec, run: RunConfig) -> Extractor:
    """The extractor of a resolved spec that names a model; its files fit a family of the table."""
    source = spec.source or spec.stream
    if is_speech(spec.stream):
        return SpeechExtractor(spec, run)
    if is_faces(source):
        from features.extractors.pretrained.faces import PretrainedFaceExtractor

        return PretrainedFaceExtractor(spec)
    if source == LITE:
        return PretrainedExtractor(spec, run, _EFFICIENTNET)
    config = read_config(spec.checkpoints[0].path)
    kind = config["model_type"]
    if kind == TIMM and find_spec("timm") is None:
        raise InputError(f"'{source}' needs the package timm: pip install 'mee[timm]'")
    if kind not in FAMILIES and not classifies(config, "appearance"):
        raise InputError(f"'{source}' is of the unsupported type {kind}; known are {', '.join(FAMILIES)}")
    return PretrainedExtractor(spec, run, FAMILIES.get(kind, _CLASSIFIER))


def loads(name: str, *unused: str, **settings: Any) -> Callable[[ModelConfig, str], Architecture]:
    """Always the same class of transformers, for `Family.model`."""
    return lambda config, output: Architecture(name, settings, unused)


# Forward functions: (B, D) rows of a batch


def token_rows(model: Any, batch: Batch) -> Tensor:
    """Of models with a class token, and maybe registers, in front of the patches."""
    states: Tensor = model(pixel_values=batch.inputs["pixels"]).last_hidden_state
    registers = getattr(model.config, "num_register_tokens", 0)
    return states[:, 0] if batch.output == "class" else batch.mean(states, 1 + registers)


def clip_rows(model: Any, batch: Batch) -> Tensor:
    """Of CLIP and models built like it."""
    result = model(pixel_values=batch.inputs["pixels"])
    if batch.output == "pooled":
        return batch.mean(result.last_hidden_state, 1)
    row: Tensor = result.image_embeds if batch.output == "projected" else result.pooler_output
    return row


def siglip_rows(model: Any, batch: Batch) -> Tensor:
    """Of SigLIP, and SigLIP 2 at a fixed resolution."""
    result = model(pixel_values=batch.inputs["pixels"])
    row: Tensor = result.pooler_output if batch.output == "projected" else batch.mean(result.last_hidden_state)
    return row


def naflex_rows(model: Any, batch: Batch) -> Tensor:
    """Of SigLIP 2 on lists of patches; those beyond a picture's grid are masked."""
    pixels, grid = batch.inputs["pixels"], batch.inputs["grid"]
    patches = pixels.permute(0, 1, 3, 4, 2).flatten(2)  # (B, N, P P 3)
    mask = (grid.new_ones(patches.shape[1]).cumsum(0) <= grid.prod(1, keepdim=True)).int()
    result = model(pixel_values=patches, pixel_attention_mask=mask, spatial_shapes=grid)
    row: Tensor = result.pooler_output
    return row if batch.output == "projected" else batch.mean(result.last_hidden_state, sizes=mask)


def videomae_rows(model: Any, batch: Batch) -> Tensor:
    """Of VideoMAE; a model that was fine-tuned to classify has a norm over the mean."""
    encoder = getattr(model, "videomae", model)
    mean = batch.mean(encoder(pixel_values=batch.inputs["pixels"]).last_hidden_state)
    row: Tensor = mean if encoder is model else model.fc_norm(mean.to(model.dtype))
    return row


def vjepa2_rows(model: Any, batch: Batch) -> Tensor:
    """Of V-JEPA 2's encoder."""
    result = model(pixel_values_videos=batch.inputs["pixels"], skip_predictor=True)
    return batch.mean(result.last_hidden_state)


def xclip_rows(model: Any, batch: Batch) -> Tensor:
    """Of X-CLIP: CLIP's vision tower over frames that exchange messages, and a transformer over their vectors."""
    pixels = batch.inputs["pixels"]
    result = model.get_video_features(pixel_values=pixels)
    row: Tensor = result.pooler_output
    if batch.output == "pooled":
        row = batch.mean(result.last_hidden_state, 1).unflatten(0, pixels.shape[:2]).mean(1)
    return row


def ast_rows(model: Any, batch: Batch) -> Tensor:
    """Of the Audio Spectrogram Transformer."""
    result = model(input_values=batch.inputs["sound"])
    row: Tensor = result.last_hidden_state[:, 0] if batch.output == "class" else result.pooler_output
    return row


def clap_rows(model: Any, batch: Batch) -> Tensor:
    """Of CLAP's audio tower. Windows are never longer than its input: none is fused (``is_longer`` is false)."""
    sound = batch.inputs["sound"]
    inputs = {"input_features": sound, "is_longer": sound.new_zeros(len(sound), 1).bool()}
    projected = batch.output == "projected"
    row: Tensor = model(**inputs).audio_embeds if projected else model.audio_model(**inputs).pooler_output
    return row


def whisper_rows(model: Any, batch: Batch) -> Tensor:
    """Of Whisper's encoder, in 32 bits: a state is two frames, and those of padding do not count."""
    states = model.encoder(batch.inputs["sound"]).last_hidden_state
    counts = (batch.inputs["frames"][:, None] + 1) // 2
    return batch.mean(states, sizes=counts.new_ones(states.shape[1]).cumsum(0) <= counts)


# What rows of the table share


def _clip_model(prefix: str, config: ModelConfig, output: str) -> Architecture:
    """With the projection only where it is wanted."""
    if output != "projected":
        return Architecture(f"{prefix}VisionModel")
    size = whole_number(config.whole, "projection_dim", 512)
    return Architecture(f"{prefix}VisionModelWithProjection", {"projection_dim": size})


def _has_projection(config: ModelConfig) -> bool:
    """No projection in a tower that was saved without."""
    return not any(str(name).endswith("VisionModel") for name in config.whole.get("architectures") or ())


def _videomae_model(config: ModelConfig, output: str) -> Architecture:
    """With the head for the sake of its norm, where it was fine-tuned to classify."""
    named = "VideoMAEForVideoClassification" in (config.whole.get("architectures") or ())
    if named and config.whole.get("use_mean_pooling", True):
        return Architecture("VideoMAEForVideoClassification", unused=("classifier",))
    return Architecture("VideoMAEModel")


def _vjepa2_window(config: ModelConfig) -> int:
    """16 frames or the option's, a multiple of what one token spans."""
    tubelet = whole_number(config.whole, "tubelet_size", 2)
    usual = min(16, whole_number(config.whole, "frames_per_clip", 64))
    frames = positive_option(config.spec, "window", usual)
    if frames % tubelet:
        raise InputError(f"'{config.spec}': window must be a multiple of {tubelet} frames, got {frames}")
    return frames


def _clap_width(config: ModelConfig) -> int:
    """Of the tower's last stage: each stage doubles it."""
    first, stages = whole_number(config.tower, "patch_embeds_hidden_size", 96), config.tower.get("depths", [2] * 4)
    if not isinstance(stages, list) or not 0 < len(stages) <= 16:
        raise InputError(f"'{config.spec}': config.json: depths must be a list of 1 to 16 numbers")
    return first << (len(stages) - 1)


def _ast_fits(front_end: FrontEnd, config: ModelConfig) -> Iterator[tuple[str, int, int]]:
    for what, key, usual in (("frames", "max_length", 1024), ("bins", "num_mel_bins", 128)):
        yield what, front_end.number(key, usual), whole_number(config.whole, key, usual)


def _clap_fits(front_end: FrontEnd, config: ModelConfig) -> Iterator[tuple[str, int, int]]:
    made = 4 if front_end.settings.get("truncation", "fusion") == "fusion" else 1
    yield "layers", made, 4 if config.tower.get("enable_fusion", False) else 1


def _whisper_fits(front_end: FrontEnd, config: ModelConfig) -> Iterator[tuple[str, int, int]]:
    states = front_end.longest // (2 * front_end.hop)
    yield "states", states, whole_number(config.whole, "max_source_positions", 1500)
    yield "bins", front_end.number("feature_size", 80), whole_number(config.whole, "num_mel_bins", 80)


_VIT = Family(
    name="ViTExtractor",
    inputs=partial(Pictures, usual=squeezed(BILINEAR, HALVES), square=True),
    model=loads("ViTModel", add_pooling_layer=False),  # few checkpoints have trained the pooler
    outputs=("class", "pooled"),
    forward=token_rows,
    merges=True,
)
_DINO2 = replace(
    _VIT,
    name="DinoExtractor",
    inputs=partial(Pictures, usual=cropped(BICUBIC, IMAGENET, (224, 224), 256), any_size=True),
    model=loads("Dinov2Model"),  # its positions are interpolated
)
_DINO3 = replace(
    _VIT,
    name="Dino3Extractor",
    inputs=partial(Pictures, usual=squeezed(BILINEAR, IMAGENET, (224, 224)), any_size=True),
    model=loads("DINOv3ViTModel"),  # its positions are rotations; not the ConvNeXt of the same name
    width=size("hidden_size", 384),
    merges=False,
)
_CLIP = Family(
    name="ClipExtractor",
    inputs=partial(Pictures, usual=cropped(BICUBIC, CLIP)),
    model=partial(_clip_model, "CLIP"),
    outputs=("projected", "class", "pooled"),
    forward=clip_rows,
    projection=512,
    projects=_has_projection,
    merges=True,
)
_META = replace(_CLIP, model=partial(_clip_model, "MetaClip2"))
_SIGLIP = Family(
    name="SiglipExtractor",
    inputs=partial(Pictures, usual=squeezed(BICUBIC, HALVES)),
    model=loads("SiglipVisionModel"),
    outputs=("projected", "pooled"),
    forward=siglip_rows,
    projects=lambda config: bool(config.tower.get("vision_use_head", True)),  # towers of larger models lack it
    merges=True,
)
_NAFLEX = replace(
    _SIGLIP,
    name="NaflexExtractor",
    inputs=partial(Pictures, usual=squeezed(BILINEAR, HALVES), any_size=True, patches=True),
    model=loads("Siglip2VisionModel"),
    forward=naflex_rows,
    merges=False,  # positions and masks are each picture's own
)
_EFFICIENTNET = Family(
    name="EfficientNetExtractor",
    inputs=partial(Pictures, usual=cropped(BICUBIC, HALVES, (224, 224), 256)),
    model=loads("EfficientNetLite0"),
    outputs=("pooled",),
    forward=lambda model, batch: model(batch.inputs["pixels"]),
    width=lambda config: 2280,
    columns=lambda config: ("",) * 1280 + imagenet_names(config.spec),  # none of the features
)
_CLASSIFIER = replace(
    _VIT,  # what it shares with it is never used
    name="ImageClassifierExtractor",
    inputs=partial(Pictures, usual=cropped(BICUBIC, IMAGENET, short_side=256), any_size=True),
    outputs=(),
    merges=False,
)
_VIDEOMAE = Family(
    name="VideoMAEExtractor",
    inputs=partial(Pictures, usual=cropped(BILINEAR, IMAGENET), fps=8.0, window=size("num_frames", 16)),
    model=_videomae_model,
    outputs=("pooled",),
    forward=videomae_rows,
    merges=True,
)
_VJEPA2 = Family(
    name="VJepa2Extractor",  # its positions are rotations, so windows and pictures may be of any size
    inputs=partial(
        Pictures,
        usual=cropped(BILINEAR, IMAGENET, short_side=256),
        fps=4.0,
        window=_vjepa2_window,
        options=("window",),
        side=("crop_size", 256),
        any_size=True,
    ),
    model=loads("VJEPA2Model", "predictor"),
    outputs=("pooled",),
    forward=vjepa2_rows,
    width=size("hidden_size", 1024),
)
_XCLIP = Family(
    name="XClipExtractor",
    inputs=partial(Pictures, usual=cropped(BILINEAR, IMAGENET), fps=2.0, window=size("num_frames", 8)),
    model=loads("XCLIPModel", "text_model", "text_projection", "prompts_generator"),
    outputs=("projected", "pooled"),
    forward=xclip_rows,
    projection=512,
    tower="vision_config",
    merges=True,
)
_TIMESFORMER = replace(
    _VIDEOMAE,
    name="TimesformerExtractor",
    inputs=partial(Pictures, usual=cropped(BILINEAR, IMAGENET), fps=1.0, window=size("num_frames", 8)),
    outputs=(),
    merges=False,
)
_AST = Family(
    name="AstExtractor",
    inputs=partial(Sound, kind="ASTFeatureExtractor", fits=_ast_fits, overlap=AST_FRAME - AST_HOP),
    model=loads("ASTModel"),
    outputs=("pooled", "class"),
    forward=ast_rows,
    merges=True,
)
_CLAP = Family(
    name="ClapExtractor",
    inputs=partial(Sound, kind="ClapFeatureExtractor", fits=_clap_fits),
    model=loads("ClapAudioModelWithProjection", attn_implementation="eager"),  # it has no other
    outputs=("projected", "pooled"),
    forward=clap_rows,
    width=_clap_width,
    projection=512,
)
_WHISPER = Family(
    name="WhisperExtractor",
    inputs=partial(Sound, kind="WhisperFeatureExtractor", fits=_whisper_fits),
    model=loads("WhisperModel", "decoder"),
    outputs=("pooled",),
    forward=whisper_rows,
    width=size("d_model", 384),
)

FAMILIES = {
    "vit": _VIT,
    "dinov2": _DINO2,
    "dinov2_with_registers": replace(_DINO2, model=loads("Dinov2WithRegistersModel")),
    "dinov3_vit": _DINO3,
    "clip": replace(_CLIP, tower="vision_config"),
    "clip_vision_model": _CLIP,
    "metaclip_2": replace(_META, tower="vision_config"),
    "metaclip_2_vision_model": _META,
    "siglip": replace(_SIGLIP, tower="vision_config"),
    "siglip_vision_model": _SIGLIP,
    "siglip2": replace(_NAFLEX, tower="vision_config"),
    "siglip2_vision_model": _NAFLEX,
    "videomae": _VIDEOMAE,
    "vjepa2": _VJEPA2,
    "xclip": _XCLIP,
    "timesformer": _TIMESFORMER,
    "audio-spectrogram-transformer": _AST,
    "clap": replace(_CLAP, tower="audio_config"),
    "clap_audio_model": _CLAP,
    "whisper": _WHISPER,
}
