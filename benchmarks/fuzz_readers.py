"""Every reader of files that may come from anyone, with small valid files to mutate (see fuzz.py).

A family has a folder of valid files. A try changes one of them, makes checksums right again, and reads.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
from safetensors.numpy import save_file

from features.external.arrays import arrange, open_arrays
from features.external.config import read_ids as read_import_ids
from features.extractors.spec import parse_spec
from features.store import FeatureStore, check_store
from index import Filter, VideoIndex
from index.metadata import read_metadata
from mee import MEE
from mee.checkpoint import read_training
from mee.data import read_captions, read_names
from mee.evaluation import read_result
from mee.external_scores import read_scores
from mee.external_scores.read import read_ids
from mee.protocols import load_benchmark
from mee.text.word_vectors import read_vectors
from scripts.cli import main

FILTER = 'duration < 30 and (tag == "x" or not tag.startswith("n/")) and year in (1, 2) or "a" in column("tag")'
CLIPS = [f"v{number}" for number in range(24)]


class Refused(Exception):
    """A command has said what is wrong."""


@dataclass(frozen=True)
class Family:
    """A kind of files and what reads them."""

    read: Callable[[Path, Path], object]  # (folder, the changed file in it)
    seal: Callable[[Path], None] = lambda folder: None


def mee(*arguments: object) -> None:
    if main([str(argument) for argument in arguments]):
        raise Refused(arguments[0])


def make_seeds(top: Path) -> None:
    """A folder for each family, made by our own commands and by the libraries that others write with."""
    for name in FAMILIES.keys() - {"store", "model", "index"}:
        (top / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {clip: rng.normal(size=(3, 4)).astype("f4") for clip in CLIPS}
    table = pd.DataFrame({"video_id": CLIPS, "caption": [f"a dog, number {clip}" for clip in CLIPS]})
    table["split"] = ["train", "train", "val", "test"] * (len(CLIPS) // 4)
    of_clips = table[["video_id"]].assign(year=range(24), tag="a, b", ok=True)
    for name, content in (("captions", table), ("metadata", of_clips), ("import-ids", of_clips)):
        content.to_csv(top / name / "a.csv", index=False)
        content.to_parquet(top / name / "a.parquet")
        content.to_json(top / name / "a.jsonl", orient="records", lines=True)
    lists = {"a.txt": "\n".join(CLIPS), "a.json": json.dumps(CLIPS), "a.csv": "query_id,x\nq,1\nr,2\n"}
    for name, text in lists.items():
        (top / "score-ids" / name).write_text(text)
    imports = top / "imports"
    np.savez(imports / "a.npz", **arrays)
    np.savez_compressed(imports / "b.npz", rows=np.ones((9, 4), "f2"), offsets=[0, 3, 9], ids=["a", "b"])
    np.save(imports / "a.npy", np.ones((3, 4), "f4"))
    save_file(arrays, imports / "a.safetensors")
    (imports / "a.pickle").write_bytes(pickle.dumps({**arrays, "lists": [[1.0, 2.0], [3.0, 4.0]]}))
    (imports / "b.pickle").write_bytes(pickle.dumps(np.ones((3, 4)), protocol=2))
    with h5py.File(imports / "a.h5", "w") as file:
        for number, (clip, array) in enumerate(arrays.items()):
            file.create_dataset(f"a/{clip}" if number % 2 else clip, data=array, chunks=(1, 4), compression="gzip")
    scores = {"scores": np.ones((2, 3), "f4"), "query_ids": ["a", "b"], "clip_ids": ["x", "y", "z"]}
    np.savez(top / "scores" / "a.npz", **scores)
    ids = {f"{side}_ids": json.dumps(scores[f"{side}_ids"]) for side in ("query", "clip")}
    save_file({"text": np.ones((2, 4), "f4"), "video": np.ones((3, 4), "f4")}, top / "scores/a.safetensors", ids)
    words = "".join(f"word{number} " + " ".join(["0.5"] * 6) + "\n" for number in range(9))
    (top / "words" / "a.txt").write_text(f"9 6\n{words}")
    (top / "words" / "b.txt").write_text(words)
    (top / "words" / "a.bin").write_bytes(b"2 6\na " + bytes(24) + b"b " + bytes(24))
    (top / "filters" / "a.txt").write_text(
        'duration < 30 and (tag == "x" or not tag.startswith("n/")) and year in (1, 2)'
    )
    (top / "specs" / "a.txt").write_text(
        "appearance=facebook/dinov2-base@main:fps=2,output=class,merge=13:falling"
    )
    for name, files in BENCHMARKS.items():
        (top / "benchmarks" / name).mkdir()
        for file, content in files.items():
            raw = (
                pickle.dumps(content)
                if file.endswith(".pkl")
                else (content if isinstance(content, str) else json.dumps(content)).encode()
            )
            (top / "benchmarks" / name / file).write_bytes(raw)
    mee("import", top / "store", f"motion={imports / 'a.npz'}", "--name", "fuzz")
    mee("train", *trained_on(top), top / "model", "--epochs", 1, *SMALL)
    mee("index", top / "store", top / "model", top / "index")
    result = top / "results" / "a.json"
    mee("evaluate", *trained_on(top), top / "model", "--result", result, "--bootstrap", 0)
    killed = ["train", *trained_on(top), top / "training" / "m", "--epochs", 3, *SMALL]
    process = subprocess.Popen([sys.executable, "-m", "scripts.cli", *map(str, killed)], stdout=-3, stderr=-3)
    while process.poll() is None and not any((top / "training").rglob("*.safetensors")):
        time.sleep(0.01)
    process.kill()
    process.wait()


def resume(folder: Path, _: Path) -> None:
    """Resume training from the state of one that was killed."""
    mee("train", *trained_on(SEEDS[0] / "seeds"), folder / "m", "--epochs", 3, *SMALL)


SMALL = ("--embed-dim", 8, "--text.width", 16, "--text.heads", 2)
SEEDS: list[Path] = []  # the folder above that of all seeds


def trained_on(top: Path) -> tuple[Path, Path]:
    return top / "store", top / "captions" / "a.csv"


def read_arrays(_: Path, path: Path) -> None:
    file = open_arrays(path)
    for name in file.names[:5]:
        with suppress(ValueError):
            file.load(name)
    arrange(file, ["a", "b", "c"])


def read_store(folder: Path, _: Path) -> None:
    store = FeatureStore(folder)
    check_store(folder, lambda *_: None)
    for stream in store.manifest.streams:
        store.read(stream, list(store.clips.index[:5]))
        store.lengths(stream, list(store.clips.index[:5]))
    store.coverage(), store.failed, store.dims


def read_index(folder: Path, _: Path) -> None:
    opened = VideoIndex.open(folder)
    query = opened.clip_query(next(iter(CLIPS)))
    opened.rank(query, 3)


def read_filter(_: Path, path: Path) -> None:
    Filter.parse(path.read_text(errors="replace")).masks([METADATA])


METADATA = pa.table({"start_s": [0.0], "end_s": [9.0], "tag": ["x"], "year": [1], "ok": [True]})


def read_model(folder: Path, _: Path) -> None:
    read_training(folder)
    model = MEE.from_pretrained(folder)
    model.tokenize(["a dog"])


def seal_json(path: Path, **how: Any) -> None:
    """Make the checksum over the other entries right, where it still is an object."""
    with suppress(ValueError, OSError, RecursionError):
        content = json.loads(path.read_bytes())
        if isinstance(content, dict):
            content.pop("sha256", None)
            digest = hashlib.sha256(json.dumps(content, sort_keys=True, **how).encode()).hexdigest()
            path.write_text(json.dumps(content | {"sha256": digest}))


def seal_store(folder: Path) -> None:
    seal_json(folder / "store.json")
    for sums in (folder / "checksums").glob("*.sha256"):
        with suppress(ValueError, OSError):
            names = [line.partition("  ")[2] for line in sums.read_text().splitlines()]
            files = [(name, folder / name) for name in names if (folder / name).is_file()]
            sums.write_text(
                "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n" for name, path in files)
            )


def seal_index(folder: Path) -> None:
    digests = {}
    for path in (folder / "segments").glob("*/segment.json"):
        with suppress(ValueError, OSError, TypeError, AttributeError, KeyError):
            facts = json.loads(path.read_bytes())
            for name in facts["files"]:
                raw = (path.parent / name).read_bytes()
                facts["files"][name] = [len(raw), hashlib.sha256(raw).hexdigest()]
            path.write_text(json.dumps(facts))
        digests[path.parent.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        manifest = json.loads((folder / "index.json").read_bytes())
        for segment in manifest["segments"]:
            segment["sha256"] = digests[segment["name"]]
        (folder / "index.json").write_text(json.dumps(manifest))
    seal_json(folder / "index.json", separators=(",", ":"))


BENCHMARKS: Mapping[str, Mapping[str, Any]] = {
    "didemo": {"test_data.json": [{"video": "v.mp4", "description": "a dog", "times": [[0, 1], [0, 2]]}] * 2},
    "activitynet": {"val_1.json": {"v_a": {"duration": 5, "timestamps": [[0, 2]], "sentences": ["a dog"]}}},
    "vatex": {"vatex_data.json": [{"videoID": "v_1_2", "enCap": ["a dog"]}], "test_list.txt": "v_1_2\n"},
    "msrvtt-full": {
        "MSRVTT_data.json": {
            "videos": [{"video_id": "video7010"}],
            "sentences": [{"caption": "a dog", "video_id": "video7010", "sen_id": 1}],
        }
    },
    "coco": {
        "captions_val2017.json": {
            "images": [{"id": 1, "file_name": "1.jpg"}],
            "annotations": [{"id": 2, "image_id": 1, "caption": "a dog"}],
        }
    },
    "msvd": {"raw-captions.pkl": {"v_1_2": [["a", "dog"], ("a", "cat")]}, "test_list.txt": "v_1_2\n"},
    "lsmdc": {
        "LSMDC16_challenge_1000_publictect.csv": "0001_A_B_00.00.51.926-00.00.54.129\t1\t2\t3\t4\tA dog runs.\n"
    },
}

FAMILIES: Mapping[str, Family] = {
    "captions": Family(lambda _, path: (read_captions(path), read_names(path))),
    "metadata": Family(lambda _, path: read_metadata(path)),
    "filters": Family(read_filter),
    "specs": Family(lambda _, path: parse_spec(path.read_text(errors="replace"))),
    "imports": Family(read_arrays),
    "import-ids": Family(lambda _, path: read_import_ids(path)),
    "scores": Family(lambda _, path: read_scores(path)),
    "score-ids": Family(lambda _, path: read_ids(path, "query")),
    "results": Family(lambda _, path: read_result(path)),
    "words": Family(lambda _, path: read_vectors(path, 5, set())),
    "benchmarks": Family(lambda _, path: load_benchmark(path.parent.name, path.parent, partial=True)),
    "store": Family(read_store, seal_store),
    "index": Family(read_index, seal_index),
    "model": Family(read_model),
    "training": Family(resume),
}
