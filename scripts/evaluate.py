"""Measure retrieval on held-out captions, both ways.

example:
  mee evaluate store/ captions.csv model/
  mee evaluate store/ captions.csv model/ --ablation --json > figures.jsonl

The captions with split test are ranked among their own clips; where the file names no split, those of the videos
that training held out, and the result says if the epoch was selected on them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from scripts.console import DONE, Device, errors_as_sentences, parse, pick_device, print_table, say

if TYPE_CHECKING:
    from mee.evaluate import RetrievalReport

FIGURES = ("R@1", "R@5", "R@10", "R@50", "MedR", "MeanR", "Geom")


@dataclass(frozen=True, kw_only=True)
class EvaluateArgs:
    """Arguments of mee evaluate."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]  # feature store, made by mee precompute
    captions: Annotated[Positional[Path], arg(metavar="CAPTIONS")]  # table of video_id, caption[, split]
    model: Annotated[Positional[Path], arg(metavar="MODEL")]  # made by mee train
    split: Literal["test", "val"] | None = None  # default: test, or val where the captions name no split
    ablation: bool = False  # also each expert alone, uniform weights, and missing streams counted as zeros
    json: bool = False  # print one JSON object a row
    partial: bool = False  # go on without captions whose video is not in the store
    device: Device = "auto"


@errors_as_sentences
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(EvaluateArgs, "evaluate", argv, __doc__ or "")

    from features.store import FeatureStore
    from mee.captions import read_captions
    from mee.checkpoint import check_directory, fingerprint, read_training
    from mee.evaluate import encode_captions, evaluate
    from mee.gallery import encode_gallery
    from mee.held_out import held_out_pairs
    from mee.model import MEE
    from mee.schemes import MIXTURE, schemes

    store = FeatureStore(args.store)
    check_directory(args.model)
    model = MEE.from_pretrained(args.model).to(pick_device(args.device))
    record = read_training(args.model)
    table = read_captions(args.captions)
    held_out = held_out_pairs(table, store, record, split=args.split, partial=args.partial)
    context = {
        "split": held_out.split,
        "selected_on_this_split": held_out.selected,
        "partial": bool(held_out.left_out),
        "left_out": list(held_out.left_out),
        "checkpoint": fingerprint(args.model),
        "seed": record.get("training", {}).get("seed"),
        "captions": str(args.captions),
    }
    text = encode_captions(model, held_out.pairs.captions)
    gallery = encode_gallery(model, store, held_out.pairs.gallery)
    reports = [
        evaluate(model, gallery, held_out.pairs, scheme=scheme, text=text, context=context)
        for scheme in (schemes(model.layout) if args.ablation else (MIXTURE,))
    ]
    if args.json:
        for report in reports:
            print(json.dumps(report.to_dict()))
    else:
        _print_reports(reports)
    for note in held_out.notes:
        say(note)
    return DONE


def _print_reports(reports: Sequence[RetrievalReport]) -> None:
    first = reports[0]
    streams = ", ".join(f"{name} {count}" for name, count in first.streams.items())
    title = f"split {first.context['split']}: {first.queries} captions, {first.gallery} clips (with {streams})"
    print_table(title, ["text to video", *FIGURES], [_row(r.scheme, r.t2v) for r in reports])
    print()
    print_table("", ["video to text", *FIGURES], [_row(r.scheme, r.v2t) for r in reports])
    print()
    print(
        f"protocol {first.protocol}; ties: {first.tie_rule}; video to text: {first.v2t_convention}; "
        f"normalisation: {first.normalisation}; checkpoint {first.context['checkpoint']}, "
        f"seed {first.context['seed']}"
    )


def _row(name: str, metrics: dict[str, float]) -> list[str]:
    return [name, *(f"{metrics[figure]:.1f}" for figure in FIGURES)]


if __name__ == "__main__":
    sys.exit(main())
