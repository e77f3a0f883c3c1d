"""What a store holds and how it was made, stream by stream, in a form for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import InputError
from features.files import open_file, regular_size
from features.store import layout
from features.store.feature_store import FeatureStore, are_failures
from features.store.shard import LIMITS


def summarise(store: FeatureStore) -> list[dict[str, Any]]:
    """What a store holds, one entry a stream, for JSON; of each file of rows, only the header is read."""
    usable = store.rows[~are_failures(store.rows)]
    summaries = []
    for stream, declared in store.manifest.streams.items():
        made_by = dict(declared.fingerprint)
        parameters = dict(made_by.get("parameters") or {})
        try:
            needs = parameters.pop("needs", ())
            sampling = [_sampling(kind, need) for each in needs for kind, need in each.items()]
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise InputError(f"{store.name}: the needs in the fingerprint of '{stream}' are damaged") from error
        summaries.append(
            {
                "stream": stream,
                "extractor": made_by["extractor"],
                "version": made_by["version"],  # of the extractor's code
                "model": made_by.get("model"),
                "revision": made_by.get("revision"),
                "size": made_by["dim"],
                "named": sum(map(bool, made_by["columns"])),  # columns with a name
                "sampling": sampling,
                "parameters": parameters,  # other than the sampling
                "fingerprint": declared.digest,
                "overwritten": len(declared.overwritten),  # how often
                "code": dict(declared.code),  # version by package, when the stream was declared
                "present": int((usable[stream] == layout.PRESENT).sum()),  # clips
                "missing": int((usable[stream] == layout.MISSING).sum()),
                "unknown": int(usable[stream].isna().sum()),  # not extracted yet
                **_on_disk(store.directory, stream, made_by["dim"]),
            }
        )
    return summaries


def _sampling(kind: str, need: Mapping[str, Any]) -> str:
    if kind == "FrameNeed":
        window = f", windows of {need['window']} every {need['stride']}" if need["window"] > 1 else ""
        return f"frames {need['fps']:g}/s {need['size']} px{window}"
    if kind == "SubtitleNeed":
        return f"subtitles {need['language']}".strip()
    if kind == "SoundNeed":
        return f"sound {need['rate']} Hz"
    return f"{kind} " + " ".join(f"{key}={value}" for key, value in need.items())


def _on_disk(directory: Path, stream: str, dim: int) -> dict[str, Any]:
    """Rows, bytes and files of a stream over all shards, and whether all shards have times."""
    if dim == 0:
        files = list((directory / stream).glob("[!.]*" + layout.WORDS))
        sizes, counts = {path.name: regular_size(path) for path in files}, []
        for path in files:
            with suppress(pa.ArrowException, OSError), pa.OSFile(str(path)) as source:  # verify reports damage
                counts.append(pq.ParquetFile(source, **LIMITS).metadata.num_rows)
        return {"rows": sum(counts), "bytes": sum(sizes.values()), "files": len(files), "timed": bool(files)}
    sizes = {path.name: regular_size(path) for path in (directory / stream).glob("[!.]*" + layout.ROWS)}
    shards, rows = {name.removesuffix(layout.ROWS) for name in sizes if not name.endswith(layout.TIMES)}, 0
    for shard in shards:
        with open_file(directory / stream / (shard + layout.ROWS)) as file:
            header = int.from_bytes(file.read(8), "little")
        content = max(0, sizes[shard + layout.ROWS] - 8 - header)  # of a damaged file 0: verify reports it
        rows += content // (2 * dim)
    timed = bool(shards) and all(shard + layout.TIMES in sizes for shard in shards)
    return {"rows": rows, "bytes": sum(sizes.values()), "files": len(sizes), "timed": timed}
