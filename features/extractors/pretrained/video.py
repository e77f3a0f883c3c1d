"""Motion by a video transformer: one row a window of frames, its time the middle.

    model_type   frames a window     a second   row
    videomae     num_frames, 16      8          pooled: mean of the tokens' last states
    vjepa2       16, or window=…     4          pooled: the same, of the encoder
    xclip        num_frames, 8       2          projected (by default): its MIT over the frames' projections;
                                                pooled: mean of all frames' patch tokens' last states

Windows follow one another without overlap (stride= says otherwise), and the last ends with the clip; a clip
shorter than a window repeats its last frame; a still image or a single frame has no motion. A VideoMAE that was
fine-tuned to classify has a norm over the mean, which is applied.

VideoMAE: Tong et al., arXiv 2203.12602. V-JEPA 2: Assran et al., arXiv 2506.09985. X-CLIP: Ni et al., arXiv
2208.02816.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, final

from features.errors import InputError
from features.extractors.pretrained.base import Rows, positive_count, positive_number
from features.extractors.pretrained.checkpoint import Architecture, part_of, whole_number
from features.extractors.pretrained.images import BILINEAR, IMAGENET_MEAN, IMAGENET_STD, ImageRecipe
from features.extractors.pretrained.vision import PictureExtractor
from features.media import Clip, FrameNeed

if TYPE_CHECKING:
    from torch import Tensor


class WindowExtractor(PictureExtractor):
    """One row a window; abstract."""

    modality = "motion"
    version = 1
    outputs: ClassVar[tuple[str, ...]] = ("pooled",)
    options: ClassVar[tuple[str, ...]] = ("output", "merge", "fps", "stride")
    usual_fps: ClassVar[float]

    @property
    @abstractmethod
    def window(self) -> int:
        """Frames a window."""

    def choose_need(self) -> FrameNeed:
        """Windows end to end, unless the word says otherwise."""
        fps = positive_number(self.spec, "fps", self.usual_fps)
        stride = positive_count(self.spec, "stride", self.window)
        return FrameNeed(fps=fps, size=self.recipe.short_side, window=self.window, stride=stride)

    def rows(self, clip: Clip) -> Rows | None:
        """One item a window; None where the clip has fewer than two frames."""
        frames = clip.frames.get(self.need)
        if frames is None or len(frames.pixels) < 2:
            return None
        windows = self.need.windows(len(frames.pixels))
        return Rows([frames.pixels[window] for window in windows], frames.times[windows].mean(1))


@final
class VideoMAEExtractor(WindowExtractor):
    """VideoMAE, pretrained or fine-tuned."""

    merges = True
    usual_fps = 8.0

    @property
    def classifies(self) -> bool:
        """Whether it was fine-tuned, so that a norm follows the mean."""
        named = "VideoMAEForVideoClassification" in (self.config.get("architectures") or ())
        return named and bool(self.config.get("use_mean_pooling", True))

    @property
    def architecture(self) -> Architecture:
        """With the head for its norm's sake, where there is one."""
        if self.classifies:
            return Architecture("VideoMAEForVideoClassification", unused=("classifier",))
        return Architecture("VideoMAEModel")

    @property
    def usual_recipe(self) -> ImageRecipe:
        side = self.image_size
        return ImageRecipe(resize=min(side), crop=side, resample=BILINEAR, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    @property
    def window(self) -> int:
        """As many as its positions."""
        return whole_number(self.config, "num_frames", 16)

    def forward(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        from features.extractors.pretrained.runner import mean_token

        encoder = model.videomae if self.classifies else model
        mean = mean_token(encoder(pixel_values=self.pixels(model, inputs)).last_hidden_state, self.token_sizes())
        normed: Tensor = model.fc_norm(mean.to(model.dtype)) if self.classifies else mean
        return normed


@final
class VJepa2Extractor(WindowExtractor):
    """V-JEPA 2: its positions are rotations, so windows and pictures may be of any size; tokens do not merge."""

    options = ("output", "merge", "fps", "stride", "window")
    usual_fps = 4.0
    usual_width = 1024
    usual_side = 256
    any_size = True
    side_key = "crop_size"

    @property
    def architecture(self) -> Architecture:
        return Architecture("VJEPA2Model", unused=("predictor",))

    @property
    def usual_recipe(self) -> ImageRecipe:
        side = self.image_size
        short = int(min(side) * 256 / 224)
        return ImageRecipe(resize=short, crop=side, resample=BILINEAR, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    @property
    def window(self) -> int:
        """16 or as asked for, a multiple of what one token spans."""
        tubelet = whole_number(self.config, "tubelet_size", 2)
        frames = positive_count(self.spec, "window", min(16, whole_number(self.config, "frames_per_clip", 64)))
        if frames % tubelet:
            raise InputError(f"'{self.spec}': window must be a multiple of {tubelet} frames, got {frames}")
        return frames

    def forward(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        from features.extractors.pretrained.runner import mean_token

        seen = model(pixel_values_videos=self.pixels(model, inputs), skip_predictor=True)
        return mean_token(seen.last_hidden_state, self.token_sizes())


@final
class XClipExtractor(WindowExtractor):
    """X-CLIP: CLIP's vision half over frames that exchange messages, and a transformer over their vectors."""

    outputs = ("projected", "pooled")
    merges = True
    usual_fps = 2.0

    @property
    def tower(self) -> Mapping[str, Any]:
        return part_of(self.config, "vision_config")

    @property
    def architecture(self) -> Architecture:
        """The model without what reads text."""
        return Architecture("XCLIPModel", unused=("text_model", "text_projection", "prompts_generator"))

    @property
    def usual_recipe(self) -> ImageRecipe:
        side = self.image_size
        return ImageRecipe(resize=min(side), crop=side, resample=BILINEAR, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    @property
    def window(self) -> int:
        """As many as its frames exchange messages among."""
        return whole_number(self.tower, "num_frames", 8)

    @property
    def dim(self) -> int:
        return whole_number(self.config, "projection_dim", 512) if self.output == "projected" else self.width

    def forward(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        from features.extractors.pretrained.runner import mean_token

        seen = model.get_video_features(pixel_values=self.pixels(model, inputs))
        if self.output == "pooled":
            frames = mean_token(seen.last_hidden_state, self.token_sizes(), 1)
            mean: Tensor = frames.unflatten(0, inputs["levels"].shape[:2]).mean(1)
            return mean
        row: Tensor = seen.pooler_output
        return row
