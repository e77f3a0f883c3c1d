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

CLIPS = [f"v{number}" for number in range(24)]
SMALL = ("--embed-dim", 8, "--text.width", 16, "--text.heads", 2)
SEEDS: list[Path] = []  # the folder above that of all seeds
METADATA = pa.table({"start_s": [0.0], "end_s": [9.0], "tag": ["x"], "year": [1], "ok": [True]})
DIDEMO = '{"video": "v.mp4", "description": "a dog", "times": [[0, 1], [0, 2]]}'
VIDEO = '"video_id": "video7010"'
MSRVTT = f'{{"videos": [{{{VIDEO}}}], "sentences": [{{"caption": "a dog", {VIDEO}, "sen_id": 1}}]}}'
COCO = '{"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [{"id": 2, "image_id": 1, "caption": "dog"}]}'
LSMDC = "0001_A_B_00.00.51.926-00.00.54.129\t1\t2\t3\t4\tA dog runs.\n"


class Refused(Exception):
    """A command has said what is wrong."""


def mee(*arguments: object) -> None:
    if main([str(argument) for argument in arguments]):
        raise Refused(arguments[0])


def make_seeds(top: Path) -> None:
    """A folder for each family, made by our own commands and by the libraries that others write with."""
    for name in FAMILIES.keys() - {"store", "model", "index", "shards"}:
        (top / name).mkdir(parents=True)
    for name, text in TEXTS.items():
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_text(text)
    rng, imports = np.random.default_rng(0), top / "imports"
    arrays = {clip: rng.normal(size=(3, 4)).astype("f4") for clip in CLIPS}
    table = pd.DataFrame({"video_id": CLIPS, "caption": [f"a dog, number {clip}" for clip in CLIPS]})
    table["split"] = ["train", "train", "val", "test"] * (len(CLIPS) // 4)
    of_clips = table[["video_id"]].assign(year=range(24), tag="a, b", ok=True)
    for name, content in (("captions", table), ("metadata", of_clips), ("import-ids", of_clips)):
        content.to_csv(top / name / "a.csv", index=False)
        content.to_parquet(top / name / "a.parquet")
        content.to_json(top / name / "a.jsonl", orient="records", lines=True)
    np.savez(imports / "a.npz", **arrays)
    np.savez_compressed(imports / "b.npz", rows=np.ones((9, 4), "f2"), offsets=[0, 3, 9], ids=["a", "b"])
    np.save(imports / "a.npy", np.ones((3, 4), "f4"))
    save_file(arrays, imports / "a.safetensors")
    (imports / "a.pickle").write_bytes(pickle.dumps({**arrays, "lists": [[1.0, 2.0], [3.0, 4.0]]}))
    (imports / "b.pickle").write_bytes(pickle.dumps(np.ones((3, 4)), protocol=2))
    with h5py.File(imports / "a.h5", "w") as file:
        for number, (clip, array) in enumerate(arrays.items()):
            file.create_dataset(f"a/{clip}" if number % 2 else clip, data=array, chunks=(1, 4), compression="gzip")
    np.savez(top / "scores/a.npz", scores=np.ones((2, 3), "f4"), query_ids=["a", "b"], clip_ids=["x", "y", "z"])
    ids = {"query_ids": '["a", "b"]', "clip_ids": '["x", "y", "z"]'}
    save_file({"text": np.ones((2, 4), "f4"), "video": np.ones((3, 4), "f4")}, top / "scores/a.safetensors", ids)
    (top / "words/a.bin").write_bytes(b"2 6\na " + bytes(24) + b"b " + bytes(24))
    (top / "benchmarks/msvd/raw-captions.pkl").write_bytes(pickle.dumps({"v_1_2": [["a", "dog"], ("a", "cat")]}))
    mee("import", top / "store", f"motion={imports / 'a.npz'}", "--name", "fuzz")
    mee("train", *trained_on(top), top / "model", "--epochs", 1, *SMALL)
    mee("index", top / "store", top / "model", top / "index")
    mee("index", top / "store", top / "model", top / "shards", "--shards", 2)
    mee("evaluate", *trained_on(top), top / "model", "--result", top / "results" / "a.json", "--bootstrap", 0)
    killed = ["train", *trained_on(top), top / "training" / "m", "--epochs", 3, *SMALL]
    process = subprocess.Popen([sys.executable, "-m", "scripts.cli", *map(str, killed)], stdout=-3, stderr=-3)
    while process.poll() is None and not any((top / "training").rglob("*.safetensors")):
        time.sleep(0.01)
    process.kill()
    process.wait()


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
    opened.rank(opened.clip_query(CLIPS[0]), 3)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sealed(content: Any, **how: Any) -> str:
    """JSON with a checksum over its other entries."""
    content.pop("sha256", None)
    text = json.dumps(content, sort_keys=True, **how)
    return json.dumps(content | {"sha256": hashlib.sha256(text.encode()).hexdigest()})


def seal_store(folder: Path) -> None:
    with suppress(Exception):  # it may be anything
        (folder / "store.json").write_text(sealed(json.loads((folder / "store.json").read_bytes())))
    for sums in (folder / "checksums").glob("*.sha256"):
        with suppress(Exception):
            names = [line.partition("  ")[2] for line in sums.read_text().splitlines()]
            files = [name for name in names if (folder / name).is_file()]
            sums.write_text("".join(f"{digest(folder / name)}  {name}\n" for name in files))


def seal_index(folder: Path) -> None:
    path = folder / "index.json"
    for facts in (folder / "segments").glob("*/segment.json"):
        with suppress(Exception):
            content, place = json.loads(facts.read_bytes()), facts.parent
            content["files"] = {
                name: [(place / name).stat().st_size, digest(place / name)] for name in content["files"]
            }
            facts.write_text(json.dumps(content))
    with suppress(Exception):
        content = json.loads(path.read_bytes())
        for segment in content["segments"]:
            segment["sha256"] = digest(folder / "segments" / segment["name"] / "segment.json")
        path.write_text(sealed(content, separators=(",", ":")))


WORDS = "".join(f"word{number} {'0.5 ' * 6}\n" for number in range(9))
TEXTS = {
    "score-ids/a.txt": "\n".join(CLIPS),
    "score-ids/a.json": json.dumps(CLIPS),
    "score-ids/a.csv": "query_id,x\nq,1\nr,2\n",
    "words/a.txt": f"9 6\n{WORDS}",
    "words/b.txt": WORDS,
    "filters/a.txt": 'duration < 30 and (tag == "x" or not tag.startswith("n/")) and year in (1, 2)',
    "specs/a.txt": "appearance=facebook/dinov2-base@main:fps=2,output=class,merge=13:falling",
    "benchmarks/didemo/test_data.json": f"[{DIDEMO}, {DIDEMO}]",
    "benchmarks/activitynet/val_1.json": '{"v_a": {"duration": 5, "timestamps": [[0, 2]], "sentences": ["dog"]}}',
    "benchmarks/vatex/vatex_data.json": '[{"videoID": "v_1_2", "enCap": ["a dog"]}]',
    "benchmarks/vatex/test_list.txt": "v_1_2\n",
    "benchmarks/msrvtt-full/MSRVTT_data.json": MSRVTT,
    "benchmarks/coco/captions_val2017.json": COCO,
    "benchmarks/msvd/test_list.txt": "v_1_2\n",
    "benchmarks/lsmdc/LSMDC16_challenge_1000_publictect.csv": LSMDC,
}

FAMILIES: Mapping[str, Callable[[Path, Path], object]] = {  # (folder, the changed file in it)
    "captions": lambda _, path: (read_captions(path), read_names(path)),
    "metadata": lambda _, path: read_metadata(path),
    "filters": lambda _, path: Filter.parse(path.read_text(errors="replace")).masks([METADATA]),
    "specs": lambda _, path: parse_spec(path.read_text(errors="replace")),
    "imports": read_arrays,
    "import-ids": lambda _, path: read_import_ids(path),
    "scores": lambda _, path: read_scores(path),
    "score-ids": lambda _, path: read_ids(path, "query"),
    "results": lambda _, path: read_result(path),
    "words": lambda _, path: read_vectors(path, 5, set()),
    "benchmarks": lambda _, path: load_benchmark(path.parent.name, path.parent, partial=True),
    "store": read_store,
    "index": read_index,
    "shards": read_index,
    "model": lambda folder, _: (read_training(folder), MEE.from_pretrained(folder).tokenize(["a dog"])),
    "training": lambda folder, _: mee(
        "train", *trained_on(SEEDS[0] / "seeds"), folder / "m", "--epochs", 3, *SMALL
    ),
}
SEALS: Mapping[str, Callable[[Path], None]] = {"store": seal_store, "index": seal_index}
