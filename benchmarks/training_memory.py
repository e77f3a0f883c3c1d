"""Memory and time of `mee train` and `mee index` on stores of random clips.

example:
  python -m benchmarks.training_memory
  python -m benchmarks.training_memory --clips 25000 50000 100000 --text own

A clip has 49 kB of streams in shapes of real clips, float16: appearance (32, 512), motion (28, 240) and, in every
second clip, faces (2, 1267); and some captions of nine words. 1,000 videos are held out to choose the epoch. Each
size has a store of its own, which is removed. Memory is the peak resident size of the command's process; kB a clip
is the slope to the size before.

  frozen   a frozen language model, 384 wide, of random weights: training is the closed form
  own      the default text encoder, which learns: one epoch of gradient steps
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from benchmarks.timing import arguments, machine, print_table, say
from features.extractors.base import Fingerprint
from features.store.layout import ClipRecord
from features.store.manifest import declare
from features.store.writer import StoreWriter

SHAPES = {"appearance": (32, 512), "motion": (28, 240), "face": (2, 1267)}
FACES = 0.5  # share of the clips
WORDS, MEAN_WORDS, WIDTH, HELD_OUT = 1000, 9, 384, 1000
COLUMNS = {
    "command": "{command}", "clips": "{clips:,}", "peak MB": "{peak_mb:.0f}", "kB a clip": "{kb_a_clip:.1f}",
    "CPU s": "{cpu_s:.0f}", "s": "{seconds:.0f}",
}  # fmt: skip


@dataclass(frozen=True)
class Args:
    clips: tuple[int, ...] = (25_000, 50_000, 100_000)  # sizes, each in turn
    captions: int = 2  # a clip
    text: Literal["frozen", "own"] = "frozen"
    index: bool = True  # whether the clips are indexed, too
    seed: int = 0
    folder: Path | None = None  # where stores are made; default: the system's for temporary files
    json: bool = False  # one object instead of the table


def main() -> None:
    args = arguments(Args, __doc__)
    rows: list[dict[str, Any]] = []
    for count in args.clips:
        with TemporaryDirectory(dir=args.folder) as made:
            folder = Path(made)
            say(f"making a store of {count:,} clips")
            make_store(folder / "store", count, args.seed)
            write_captions(folder / "captions.csv", count, args)
            store, model = str(folder / "store"), str(folder / "model")
            text = ["--text.encoder", str(write_language_model(folder / "text"))]
            how = text if args.text == "frozen" else ["--epochs", "1"]
            commands = {"train": [store, str(folder / "captions.csv"), model, *how]}
            if args.index:
                commands["index"] = [store, model, str(folder / "index")]
            for command, given in commands.items():
                say(f"mee {command} of {count:,} clips")
                rows.append({"command": command, "clips": count, **measured(command, *given)})
    for row in rows:
        before = [other for other in rows if other["command"] == row["command"] and other["clips"] < row["clips"]]
        if before:
            row["kb_a_clip"] = (
                1000 * (row["peak_mb"] - before[-1]["peak_mb"]) / (row["clips"] - before[-1]["clips"])
            )
    facts = {**machine(), **asdict(args), "folder": str(args.folder)}
    if args.json:
        print(json.dumps({**facts, "rows": rows}))
    else:
        print(*(f"{key}: {value}" for key, value in facts.items()), "", sep="\n")
        print_table(COLUMNS, rows, width=7)


def measured(*command: str) -> dict[str, float]:
    """Peak memory, seconds of the processor and of the clock of a command of ours that has no children."""
    begun = os.times().elapsed
    process = os.posix_spawn(sys.executable, [sys.executable, "-m", "scripts.cli", *command], dict(os.environ))
    _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"mee {' '.join(command)} failed")
    cpu = used.ru_utime + used.ru_stime
    return {"peak_mb": used.ru_maxrss * 1024 / 1e6, "cpu_s": cpu, "seconds": os.times().elapsed - begun}


def make_store(directory: Path, count: int, seed: int) -> None:
    """Random numbers; every clip has its own place in a pool of them."""
    prints = {name: Fingerprint(extractor=name, version=1, dim=dim) for name, (_, dim) in SHAPES.items()}
    manifest = declare(directory, prints, None, overwrite=False)
    rng = np.random.default_rng(seed)
    pool = rng.standard_normal(1 << 22, dtype=np.float32).astype(np.float16)
    facts: dict[str, Any] = {"start_s": 0.0, "end_s": 10.0, "verdict": "ok", "note": "", "reader": "pyav"}
    with StoreWriter(directory, manifest) as writer:
        for number in range(count):
            streams = {}
            for name, shape in SHAPES.items():
                first = int(rng.integers(len(pool) - np.prod(shape)))
                there = name != "face" or rng.random() < FACES
                streams[name] = pool[first : first + np.prod(shape)].reshape(shape) if there else None
            clip_id, digest = f"video{number:07d}.mp4", sha256(str(number).encode()).hexdigest()
            known = {"clips_of_video": 1, "file_bytes": 1 + number, "file_sha256": digest}
            writer.add([ClipRecord(clip_id=clip_id, video=clip_id, streams=streams, **facts, **known)])


def write_captions(path: Path, count: int, args: Args) -> None:
    """Random words; the first videos are for validation."""

    def sentences() -> Iterator[str]:
        rng = np.random.default_rng(args.seed)
        for length in rng.poisson(MEAN_WORDS, count * args.captions).clip(1):
            yield " ".join(f"word{word}" for word in rng.integers(WORDS, size=length))

    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["video_id", "caption", "split"])
        for place, sentence in enumerate(sentences()):
            number = place // args.captions
            table.writerow([f"video{number:07d}.mp4", sentence, "val" if number < HELD_OUT else "train"])


def write_language_model(directory: Path) -> Path:
    """A tiny BERT in the hub's format."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", *(f"word{number}" for number in range(WORDS))]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, **names).save_pretrained(
        directory
    )
    sizes = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 6}
    settings = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=64, **sizes)
    transformers.BertModel(settings, add_pooling_layer=False).save_pretrained(directory)
    return directory


if __name__ == "__main__":
    main()
