"""How well words that are said and written in videos are recognised, and found with their times.

  python -m benchmarks.words DATA --work DIR         the clips of benchmarks.zero_shot, with the same DIR

speech   word error rate: edits a word of the spoken sentence, both normalised as for Whisper ("thirty-one" is 31)
text     of the recognised lines of a clip the one nearest to the written line: whether it is the same, also but
         for case and spaces, and the character error rate
time     the first utterance starts, and the last one ends, within a second of the sound; the same of the line
found    'somebody says "…"' and 'text that reads "…"' with the second half of a sentence: R@1; and whether the
         best utterance of the right clip, whose time a hit shows, lies within a second of where the sentence is
none     clips whose sound is no speech: recordings of DATA/sounds; how many get a speech stream at all

At the end stands what is recognised in the real clips of DATA/clips.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers.models.whisper.english_normalizer import EnglishTextNormalizer
from tyro.conf import Positional

from benchmarks.data.mixed_gallery import Part, second_half
from benchmarks.timing import arguments, print_table
from benchmarks.zero_shot import Asked, mee, mixed, whisper
from features.store import FeatureStore
from mee.data.source import Utterance
from mee.encode import encode_captions
from mee.model import MEE

STREAMS = {"said": "speech", "written": "text"}
ASKED = {"said": 'somebody says "{}"', "written": 'text that reads "{}"'}
NEAR = 1.0  # seconds
Words = Sequence[Utterance]


def edits(wrong: Sequence[str], right: Sequence[str]) -> int:
    """Fewest insertions, deletions and replacements that make one of the other (Levenshtein, 1966)."""
    row = list(range(len(right) + 1))
    for n, own in enumerate(wrong, 1):
        diagonal, row[0] = row[0], n
        for m, other in enumerate(right, 1):
            diagonal, row[m] = row[m], min(row[m] + 1, row[m - 1] + 1, diagonal + (own != other))
    return row[-1]


def normal(text: str) -> list[str]:
    """Words, spelt in one way."""
    return str(EnglishTextNormalizer({})(text)).split()  # type: ignore[no-untyped-call]


def loose(text: str) -> str:
    """Without case and spaces."""
    return "".join(text.lower().split())


def speech_row(found: Sequence[Words], right: Sequence[Utterance]) -> dict[str, Any]:
    """What is recognised of spoken sentences, and the sentences with their times; () where nothing is."""
    said = [normal(text) for _, _, text in right]
    wrong = sum(edits(normal(" ".join(text for _, _, text in words)), its) for words, its in zip(found, said))
    spans = [(words[0][0], max(end for _, end, _ in words)) if words else None for words in found]
    return {
        "row": "speech",
        "errors": f"{100 * wrong / sum(map(len, said)):.1f} % of words",
        **_shares(spans, right),
    }


def text_row(found: Sequence[Words], right: Sequence[Utterance]) -> dict[str, Any]:
    """The same of written lines."""
    nearest = [
        min(words, key=lambda line: edits(loose(line[2]), loose(its)), default=(0.0, 0.0, ""))
        for words, (_, _, its) in zip(found, right)
    ]
    pairs = [(line, its) for (_, _, line), (_, _, its) in zip(nearest, right)]
    wrong = sum(edits(*pair) for pair in pairs)
    return {
        "row": "text",
        "errors": f"{100 * wrong / sum(len(its) for _, its in pairs):.1f} % of characters",
        "same": percent(line == its for line, its in pairs),
        "loosely": percent(loose(line) == loose(its) for line, its in pairs),
        **_shares([line[:2] if line[2] else None for line in nearest], right),
    }


def _shares(spans: Sequence[tuple[float, float] | None], right: Sequence[Utterance]) -> dict[str, str]:
    """How many clips have the stream, and how often it starts and ends within a second of the truth."""
    near = [span and max(abs(span[0] - its[0]), abs(span[1] - its[1])) <= NEAR for span, its in zip(spans, right)]
    return {"clips": percent(span is not None for span in spans), "time": percent(map(bool, near))}


def percent(of: Iterable[bool]) -> str:
    """The share that is true."""
    values = list(of)
    return f"{100 * sum(values) / len(values):.1f} % of {len(values)}"


def found_row(
    kind: str, clip_ids: Sequence[str], right: Sequence[Utterance], store: FeatureStore, model: MEE
) -> dict[str, Any]:
    """A row of sentences that quote what is said or written."""
    quotes = [ASKED[kind].format(second_half(text)) for _, _, text in right]
    queries = pd.DataFrame({"video_id": clip_ids, "caption": quotes})
    asked, stream, inside = Asked.of(store, model, queries), STREAMS[kind], []
    columns = model.layout.slices[model.modalities.index(stream)]
    vectors = encode_captions(model, quotes).packed[:, columns].cpu()
    rows = asked.gallery.video.words[stream]
    for vector, clip, words, (begins, ends, _) in zip(vectors, clip_ids, store.words(stream, clip_ids), right):
        row = asked.gallery.names.index(clip)
        own = rows.values[rows.offsets[row] : rows.offsets[row + 1]].cpu()
        start, end, _ = words[int((own @ vector).argmax())] if words else (-np.inf, np.inf, "")
        inside.append(begins - NEAR <= start and end <= ends + NEAR)
    return {"row": ASKED[kind].format("…"), "R@1": percent(asked.ranks() == 1), "inside": percent(inside)}


def without_speech(sounds: Path, work: Path) -> str:
    """How many recordings of other sounds get a speech stream."""
    (work / "sounds").mkdir(parents=True, exist_ok=True)
    for sound in sorted(sounds.glob("*.ogg")):
        black = ["-f", "lavfi", "-i", "color=black:s=64x48:r=2"]
        command = ["ffmpeg", "-v", "error", "-y", *black, "-i", str(sound), "-shortest"]
        subprocess.run(
            [*command, str(work / "sounds" / f"{sound.stem}.mp4")], check=True, stdin=subprocess.DEVNULL
        )
    mee("precompute", work / "sounds", work / "sounds-store", "--streams", f"speech={whisper()}")
    store = FeatureStore(work / "sounds-store")
    return percent(words is not None for words in store.words("speech", list(store.clips.index)))


@dataclass(frozen=True)
class Args:
    data: Positional[Path]  # folder of the data sets
    work: Path  # folder for clips, streams and models; kept, and used again
    part: Part = "test"  # of the mixed gallery


def main() -> None:
    args = arguments(Args, __doc__)
    folder = mixed(args.data, args.work, args.part)
    store, model = FeatureStore(folder / "store"), MEE.from_pretrained(folder / "model")
    clips = pd.read_csv(folder / "clips.csv", keep_default_na=False)
    clips["clip_id"] = clips["video"].map({video: clip for clip, video in store.clips["video"].items()})
    rows, quotes = [], []
    for kind, row in (("said", speech_row), ("written", text_row)):
        has = clips[clips[kind] != ""]
        times = has[[f"{kind}_s", f"{kind}_end_s"]].astype(float).to_numpy().tolist()
        clip_ids, right = has["clip_id"].tolist(), [(*span, text) for span, text in zip(times, has[kind])]
        rows.append(row([words or () for words in store.words(STREAMS[kind], clip_ids)], right))
        quotes.append(found_row(kind, clip_ids, right, store, model))
    heads = {
        "clips": "with the stream",
        "errors": "errors",
        "same": "same line",
        "loosely": "but for case, spaces",
    }
    shown = {head: f"{{{key}}}" for key, head in heads.items()}
    print_table({"": "{row}", **shown, "time within 1 s": "{time}"}, rows)
    print_table({"": "{row}", "R@1 of the mixture": "{R@1}", "time within 1 s": "{inside}"}, quotes)
    silent = store.words("speech", clips.loc[clips["said"] == "", "clip_id"].tolist())
    print("with speech:", percent(words is not None for words in silent), "clips without a sentence")
    print("with speech:", without_speech(args.data / "sounds", args.work), "other sounds")
    mee("precompute", args.data / "clips", args.work / "clips-store", "--streams", f"speech={whisper()}", "text")
    real = FeatureStore(args.work / "clips-store")
    for clip in real.clips.index:
        for stream in STREAMS.values():
            for start, end, text in real.words(stream, [clip])[0] or ():
                print(f"{clip} {stream} {start:.1f} to {end:.1f} s: {text}")


if __name__ == "__main__":
    main()
