"""The speed-up of base-size transformers by token merging, beside the operations saved, and the change of vectors.

examples:
  OMP_NUM_THREADS=1 python -m benchmarks.token_merging
  OMP_NUM_THREADS=1 python -m benchmarks.token_merging --models vit --clips FOLDER --rounds 0 \\
      --checkpoint vit=google/vit-base-patch16-224
  python -m benchmarks.token_merging --device cuda --batch 256

Random weights, float32 on one thread of a CPU, or bfloat16 on a GPU. In each round the plain model and every
schedule run one forward pass in turn. A speed-up is a ratio of times of one round: processor seconds on a CPU,
CUDA events on a GPU; "best" is that of the two fastest passes. "operations" is the ratio that the token counts
give, "kept" the share of it that is reached:

  layer of N tokens, N' after merging:   2 (4 N C^2 + 2 N^2 C + 2 N' C I)     C: states, I: inside of the MLP
  patches:                               2 N C P                              P: numbers in a patch

With --clips, also cosine(x, y), mean and lowest over the files of a folder, x and y the mean of a clip's rows
without and with merging, and centred, cosine(x - m, y - m), m the mean of x over clips. Extractors are those of
mee precompute, with a named checkpoint's weights; of each file the first clip's first ROWS rows count.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
import transformers as hub
from numpy.typing import NDArray
from torch import nn

from benchmarks.timing import arguments, in_turns, print_table, ratios, say, seconds_of
from features.extractors.base import Extractor
from features.extractors.pretrained.runner import quiet
from features.extractors.registry import make_extractor
from features.extractors.spec import MergeSchedule
from features.extractors.token_merging.apply import merge_tokens
from features.media.clip import Clip
from features.media.library import is_media
from features.media.reader import read_clips

PLAIN = "none"
ROWS = 2
LAYERS, STATES, INSIDE = 12, 768, 3072  # of all models
SHORT = ("0", "8", "13", "16", "13:falling")
LONG = ("0", "16", "0.066", "0.067", "0.066:falling")
COLUMNS = {
    "model": "{model}", "       merge": "{merge}", "     s": "{seconds:.2f}", "speed-up": "{speed_up:.2f}",
    "lowest": "{lowest:.2f}", "highest": "{highest:.2f}", "best": "{best:.2f}", "operations": "{operations:.2f}",
    "kept": "{kept:.0%}", "cosine": "{cosine:.4f}", "lowest cosine": "{lowest_cosine:.4f}",
    "centred": "{centred:.4f}", "lowest centred": "{lowest_centred:.4f}",
}  # fmt: skip
Row = dict[str, Any]


@dataclass(frozen=True)
class Base:
    """One architecture."""

    make: Callable[[], nn.Module]  # random weights
    shape: tuple[int, ...]  # of one input
    patch: int  # numbers in one patch
    tokens: int
    protected: int
    schedules: Sequence[str]

    def model(self, seed: int) -> Any:
        torch.manual_seed(seed)
        return self.make().eval().requires_grad_(False)

    def operations(self, schedule: str) -> float:
        """Floating point operations for one input."""
        merged = [0] * LAYERS
        if schedule != PLAIN:
            merged = MergeSchedule.parse(schedule).per_layer(LAYERS, self.tokens, self.protected)
        total, tokens = 2 * self.tokens * STATES * self.patch, self.tokens
        for r in merged:
            total += 2 * (4 * tokens * STATES**2 + 2 * tokens**2 * STATES + 2 * (tokens - r) * STATES * INSIDE)
            tokens -= r
        return float(total)


CLIP = hub.CLIPVisionConfig(hidden_size=STATES, intermediate_size=INSIDE, num_attention_heads=12, patch_size=16)
BASES = {
    "vit": Base(lambda: hub.ViTModel(hub.ViTConfig(), add_pooling_layer=False), (3, 224, 224), 768, 197, 1, SHORT),
    "clip": Base(lambda: hub.CLIPVisionModelWithProjection(CLIP), (3, 224, 224), 768, 197, 1, SHORT),
    "ast": Base(lambda: hub.ASTModel(hub.ASTConfig()), (1024, 128), 256, 1214, 2, LONG),
    "videomae": Base(lambda: hub.VideoMAEModel(hub.VideoMAEConfig()), (16, 3, 224, 224), 1536, 1568, 0, LONG),
}


@dataclass(frozen=True)
class Args:
    models: tuple[Literal["vit", "clip", "ast", "videomae"], ...] = ("vit", "clip", "ast", "videomae")
    rounds: int = 5  # 0: no timing
    batch: int = 8  # inputs a forward pass
    device: Literal["cpu", "cuda"] = "cpu"
    clips: Path | None = None  # folder of videos
    checkpoint: tuple[str, ...] = ()  # MODEL=HUB_ID_OR_DIRECTORY, for the clips
    seed: int = 0


def main() -> None:
    args = arguments(Args, __doc__)
    if args.device == "cpu":
        torch.set_num_threads(1)
    print_table(COLUMNS, _rows(args), 8)


def _rows(args: Args) -> Iterator[Row]:
    checkpoints = dict(pair.split("=", 1) for pair in args.checkpoint)
    for name in args.models:
        speed = speed_of(name, args, BASES[name].schedules) if args.rounds else {}
        change = _change(name, args.clips, checkpoints.get(name), args.seed) if args.clips else {}
        for merge in speed or change:
            yield {"model": name, "merge": merge, **speed.get(merge, {}), **change.get(merge, {})}


def speed_of(name: str, args: Args, schedules: Sequence[str]) -> dict[str, Row]:
    """A row for the plain model, and one a schedule."""
    base, device = BASES[name], torch.device(args.device)
    kind = torch.bfloat16 if args.device == "cuda" else torch.float32
    model = base.model(args.seed).to(device, kind)
    noise = torch.randn(args.batch, *base.shape, generator=torch.Generator().manual_seed(args.seed))
    inputs = {"input_values" if len(base.shape) == 2 else "pixel_values": noise.to(device, kind)}
    seconds: dict[str, list[float]] = {side: [] for side in (PLAIN, *schedules)}
    for number, side in in_turns(seconds, args.rounds + 1):  # the first round warms up
        merging = None if side == PLAIN else merge_tokens(model, MergeSchedule.parse(side))
        used = _seconds(model, inputs, device)
        if merging is not None:
            merging.remove()
        if number:
            seconds[side].append(used)
            say(f"{name}, {side}: round {number} of {args.rounds}")
    rows = {}
    for side, own in seconds.items():
        speed_up, saved = ratios(seconds[PLAIN], own), base.operations(PLAIN) / base.operations(side)
        rows[side] = {
            "seconds": median(own), "speed_up": speed_up["median"], "lowest": speed_up["min"],
            "highest": speed_up["max"], "best": min(seconds[PLAIN]) / min(own), "operations": saved,
            "kept": speed_up["median"] / saved,
        }  # fmt: skip
    return rows


@torch.inference_mode()
def _seconds(model: Any, inputs: dict[str, Any], device: torch.device) -> float:
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        model(**inputs)
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) / 1000
    return seconds_of(lambda: model(**inputs))[1]


def _change(name: str, folder: Path, checkpoint: str | None, seed: int) -> dict[str, Row]:
    """Mean and lowest cosine of each schedule, plain and centred; without a checkpoint, of random weights."""
    with tempfile.TemporaryDirectory() as made:
        source = checkpoint or save_random(name, Path(made), seed)
        plain = make_extractor(f"x={source}")
        clips = [clip for path in sorted(folder.iterdir()) if is_media(path) for clip in _first(path, plain)]
        expected = _vectors(plain, clips)
        rows = {}
        for schedule in BASES[name].schedules[1:]:
            got = _vectors(make_extractor(f"x={source}:merge={schedule}"), clips)
            pairs = [(x, y) for x, y in zip(expected, got, strict=True) if x is not None and y is not None]
            x, y = (np.stack(side) for side in zip(*pairs))
            cosines, centred = _cosines(x, y), _cosines(x - x.mean(0), y - x.mean(0))
            rows[schedule] = {
                "cosine": cosines.mean(), "lowest_cosine": cosines.min(), "centred": centred.mean(),
                "lowest_centred": centred.min(),
            }  # fmt: skip
        return rows


def save_random(name: str, folder: Path, seed: int) -> str:
    """A checkpoint in the hub's format."""
    with quiet():
        BASES[name].model(seed).save_pretrained(folder)
    if name == "ast":
        settings = {"feature_extractor_type": "ASTFeatureExtractor", "mean": -4.2677393, "std": 4.5689974}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return str(folder)


def _first(path: Path, extractor: Extractor) -> list[Clip]:
    """The first clip of a file, cut to the first rows; none if the file lacks the modality."""
    clip = next(read_clips(path, path.name, extractor.needs))
    frames = {}
    for need, seen in clip.frames.items():
        count = need.window + (ROWS - 1) * need.stride
        frames[need] = replace(seen, pixels=seen.pixels[:count], times=seen.times[:count])
    return [replace(clip, frames=frames)] if frames or clip.sound else []


def _vectors(extractor: Extractor, clips: Sequence[Clip]) -> list[NDArray[np.float64] | None]:
    streams = extractor.extract(clips)
    return [None if stream is None else stream.rows.mean(0, dtype=np.float64) for stream in streams]


def _cosines(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(1) / lengths)


if __name__ == "__main__":
    main()
