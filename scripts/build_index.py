"""Make a store's clips searchable with a trained model.

example:
  mee index store/ model/ index/

Run it again after mee precompute has added videos: only new clips are embedded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from mee.errors import InputError
from scripts.console import DONE, Device, parse, pick_device, print_table, resumable, say

if TYPE_CHECKING:
    from index.video_index import VideoIndex
    from mee.model import MEE


@dataclass(frozen=True, kw_only=True)
class IndexArgs:
    """Arguments of mee index."""

    store: Annotated[Positional[Path], arg(metavar="STORE")]  # feature store, made by mee precompute
    model: Annotated[Positional[Path], arg(metavar="MODEL")]  # made by mee train
    index: Annotated[Positional[Path], arg(metavar="INDEX")]  # directory to make, or to add to
    overwrite: bool = False  # make the index anew
    device: Device = "auto"


@resumable
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    args = parse(IndexArgs, "index", argv, __doc__ or "")

    from features.store import FeatureStore
    from index.video_index import NAME
    from mee.checkpoint import check_directory
    from mee.gallery import encode_gallery
    from mee.model import MEE

    store = FeatureStore(args.store)
    check_directory(args.model)
    model = MEE.from_pretrained(args.model).to(pick_device(args.device))
    if args.index.exists() and not (args.index / NAME).is_file() and _has_other_files(args.index):
        raise InputError(f"'{args.index}' is there already and is not an index; name another place")
    video_index = _open(args, model)
    new = store.clips[~store.clips.index.isin(video_index.clips["clip_id"])]
    gallery = encode_gallery(model, store, new.index.tolist())
    video_index.add(gallery, new)
    video_index.save(args.index)
    _report(video_index, len(gallery.clip_ids), gallery.without_stream, dict(store.failed))
    return DONE


def _has_other_files(directory: Path) -> bool:
    """Whether something else is here than what a first save, stopped half-way, leaves."""
    return any(
        path.suffix not in (".faiss", ".parquet") and path.name != ".index.json" for path in directory.iterdir()
    )


def _open(args: IndexArgs, model: MEE) -> VideoIndex:
    """The index that is there, if it can be added to; else a new one."""
    from index.video_index import NAME, Origin, VideoIndex
    from mee.checkpoint import fingerprint

    origin = Origin(str(args.model.resolve()), fingerprint(args.model), str(args.store.resolve()))
    if args.overwrite or not (args.index / NAME).is_file():
        return VideoIndex(model.layout, origin)
    there = VideoIndex.load(args.index, mapped=False)
    if there.origin.model_fingerprint != origin.model_fingerprint or there.origin.store != origin.store:
        raise InputError(
            f"'{args.index}' was made with another model or store ('{there.origin.model}', "
            f"'{there.origin.store}'); make it anew with --overwrite, or name another place"
        )
    there.origin = origin
    return there


def _report(video_index: VideoIndex, added: int, without: Sequence[str], failed: dict[str, str]) -> None:
    names = video_index.layout.names
    rows = [
        [", ".join(name for name, present in zip(names, pattern) if present), str(partition.flat.ntotal)]
        for pattern, partition in sorted(video_index.partitions.items(), reverse=True)
    ]
    print_table(f"{len(video_index)} clips in the index, {added} of them new", ["streams", "clips"], rows)
    if without:
        say(f"{len(without)} clips have no stream at all and cannot be found, '{without[0]}' among them")
    if failed:
        say(f"{len(failed)} videos are not in it because extraction failed, '{min(failed)}' among them")


if __name__ == "__main__":
    sys.exit(main())
