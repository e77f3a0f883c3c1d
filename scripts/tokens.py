"""Show which patches of a picture are merged into one token by a pretrained model.

example:
  mee tokens dog.jpg --merge 8
  mee tokens dog.jpg --merge 13:falling --model facebook/dinov2-base --out dog-tokens.png
  mee tokens dog.jpg --merge 0.1 --json

The picture is resized and cropped as the model's checkpoint says. An existing file of the name given to --out is
overwritten.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from features.errors import InputError
from features.extractors import MergeSchedule
from scripts.console import DONE, Device, bar, errors_as_sentences, parse, pick_device, print_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from features.extractors.pretrained import PretrainedExtractor
    from features.media import Clip, Need


@dataclass(frozen=True, kw_only=True)
class TokensArgs:
    """Arguments of mee tokens."""

    image: Annotated[Positional[Path], arg(metavar="IMAGE")]  # jpg, png or webp
    merge: str = "8"  # tokens merged in each layer: "8", "0.1" (a share), "13:falling" (from 26 down to 0)
    model: str = "google/siglip2-base-patch16-224"  # a vision transformer: name on the hub, or directory
    out: Path = Path("tokens.png")  # file for the drawing
    json: bool = False  # print one JSON object
    device: Device = "auto"  # where to run the model


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(TokensArgs, "tokens", argv, __doc__ or "")
    try:
        schedule = MergeSchedule.parse(args.merge)
    except ValueError as error:
        raise InputError(f"--merge: {error}") from error
    if not schedule.merges:
        raise InputError(f"--merge {args.merge} merges nothing; say how many tokens a layer, such as 8")
    if args.out.is_dir() or args.out.suffix.lower() != ".png":
        raise InputError(f"--out {args.out} does not name a picture; name a file such as tokens.png")
    if args.out.exists() and args.image.exists() and args.out.samefile(args.image):
        raise InputError(f"--out {args.out} is the picture itself; name another file with --out")
    extractor = _extractor(args.model)
    picture, groups, tokens = _merged(args, extractor, schedule)

    from scripts.pictures import draw_tokens, write_picture

    title = f"{args.image.name}: tokens of {extractor.checkpoint.model}, merge {schedule}"
    write_picture(args.out, draw_tokens(picture, groups, title))
    if args.json:
        answer = {"image": str(args.image), "model": extractor.checkpoint.model, "merge": str(schedule)}
        print(json.dumps({**answer, "tokens": tokens, "picture": str(args.out)}))
        return DONE
    rows = [
        [str(layer), str(count), str(before - count), bar(count / tokens[0], 24).ljust(24)]
        for layer, (before, count) in enumerate(zip([tokens[0], *tokens], tokens))
    ]
    print_table(title, ["layer", "tokens", "merged", ""], rows, words=0)
    return DONE


def _extractor(model: str) -> PretrainedExtractor:
    """The extractor that runs this model; refuses models that do not read single pictures."""
    from features.extractors import make_extractor
    from features.extractors.pretrained import PretrainedExtractor

    extractor = make_extractor(f"tokens={model}")
    if not isinstance(extractor, PretrainedExtractor) or extractor.modality != "appearance":
        raise InputError(f"'{model}' does not read single pictures; name a vision transformer with --model")
    if not extractor.family.merges:
        kind = extractor.config.whole["model_type"]
        raise InputError(f"tokens of '{model}', of type {kind}, cannot be merged; name another model with --model")
    return extractor


def _merged(
    args: TokensArgs, extractor: PretrainedExtractor, schedule: MergeSchedule
) -> tuple[NDArray[np.uint8], list[NDArray[np.int64]], list[int]]:
    """The picture; after 0, 1, … layers, which token holds each patch of its grid, and the number of tokens."""
    import torch

    from features.extractors.pretrained import load_weights
    from features.extractors.token_merging import merge_tokens

    levels = extractor.inputs.prepare([_picture(args.image, extractor)])["pixels"]  # (1, 3, h, w) uint8
    device = pick_device(args.device)
    model: Any = load_weights(extractor.architecture, extractor.checkpoint.path, args.model).to(device)
    merging = merge_tokens(model, schedule)
    with torch.inference_mode():
        model(pixel_values=extractor.inputs.finish({"pixels": levels.to(device)}, model.dtype)["pixels"])
    side, (height, width) = int(model.config.patch_size), levels.shape[2:]
    grid = (height // side, width // side)
    merged = merging.merged
    groups = [merging.groups(layer)[0, merging.protected :] for layer in range(len(merged) + 1)]
    tokens = [len(groups[0]) + merging.protected - sum(merged[:layer]) for layer in range(len(merged) + 1)]
    seen = levels[0, :, : grid[0] * side, : grid[1] * side].permute(1, 2, 0).numpy()
    return seen, [held.reshape(grid).cpu().numpy() for held in groups], tokens


def _picture(path: Path, extractor: PretrainedExtractor) -> NDArray[np.uint8]:
    """(H, W, 3), as `mee precompute` hands it to the extractor."""
    from features.job import Failed, run_isolated

    ((_, clip),) = run_isolated(decode, [(path, tuple(extractor.needs))])
    if isinstance(clip, Failed):
        raise InputError(f"'{path}' cannot be read as a picture: {clip.reason}")
    rows = extractor.inputs.rows(clip)
    assert rows is not None  # a still image is one frame
    picture: NDArray[np.uint8] = rows.items[0]
    return picture


def decode(task: tuple[Path, tuple[Need, ...]]) -> Iterator[Clip]:
    """The clip of an image; called in a worker."""
    from features.media import read_image

    path, needs = task
    yield read_image(path, path.name, needs)
