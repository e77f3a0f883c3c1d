"""mee evaluate STORE ANNOTATIONS MODEL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from features.store import FeatureStore
from mee.checkpoint import check_directory, fingerprint, read_training
from mee.data import check_apart
from mee.encode import Gallery, encode_captions, encode_gallery
from mee.errors import InputError
from mee.evaluation import (
    Asked,
    Assessment,
    HeldOut,
    Names,
    System,
    choice_accuracy,
    gallery_of,
    held_out_pairs,
    measure_scores,
    protocol_facts,
    rules_of,
    text_of,
)
from mee.model import MEE
from mee.protocols import FOLDER, SENTENCES, Benchmark, load_benchmark
from mee.ranking import MixtureScores
from mee.training import selected_on, trained_on
from scripts.console import pick_device
from scripts.evaluation.args import ModelArgs
from scripts.evaluation.output import Outcome

if TYPE_CHECKING:
    from mee.model import TextEmbedding


def evaluate_model(args: ModelArgs) -> Outcome:
    """Measure a model."""
    device = pick_device(args.device)
    store = FeatureStore(args.store)
    check_directory(args.model)
    model = MEE.from_pretrained(args.model).to(device)
    record = read_training(args.model)
    train_list = record.get("train_list") if record.get("protocol") == args.protocol else None
    benchmark = load_benchmark(args.protocol, args.captions, train_list=train_list, partial=args.partial)
    held_out = held_out_pairs(
        benchmark.table, store, record, split=args.split, partial=args.partial, protocol=args.protocol
    )
    system = System(
        name=args.name or args.model.resolve().name,
        kind="model",
        checkpoint=fingerprint(args.model),
        seed=record.get("training", {}).get("seed"),
        modalities=model.modalities,
        trained_on=trained_on(record),
        selected_on=selected_on(record),
        selected_here=held_out.selected,
    )
    if benchmark.choices is not None:
        return _choose(args, benchmark, held_out, store, model, system)
    clip_ids, left_out = held_out.pairs.gallery, held_out.left_out
    if args.protocol != FOLDER and held_out.split == "test":
        videos = gallery_of(benchmark, store, partial=args.partial)
        clip_ids, left_out = list(videos.clip_ids), videos.left_out
        named = set(store.clips.loc[clip_ids, "video"])  # some may have no caption
        check_apart(record, named, store, what="the gallery", ids=benchmark.gallery)
    text = encode_captions(model, held_out.pairs.captions)
    gallery = encode_gallery(model, store, clip_ids).by_pattern()
    asked = Asked.of(held_out.pairs, gallery)
    bank = _bank(args, benchmark, model)
    assessment = Assessment(
        layout=model.layout,
        text=text_of(text, asked),
        gallery=gallery,
        positives=asked.positives,
        v2t=args.v2t,
        normalise=args.normalise,
        bank=bank,
    )
    scores = assessment.scores()
    names = Names(
        query_ids=[held_out.pairs.ids[number] for number in asked.numbers.tolist()],
        captions=[held_out.pairs.captions[number] for number in asked.numbers.tolist()],
        clip_ids=gallery.clip_ids + gallery.without_stream,
        clips=store.clips,
    )
    measured = measure_scores(scores, asked.positives, names, v2t=args.v2t, resamples=args.bootstrap)
    schemes, removed = (assessment.schemes(), assessment.removed()) if args.ablation else ((), ())
    size = 0 if bank is None else len(bank.packed)
    facts = args.normalise.facts(f"{size:,} training captions", size)
    parts = {
        "system": system,
        "protocol": protocol_facts(
            benchmark,
            split=held_out.split,
            queries=measured.t2v.queries,
            gallery=measured.t2v.candidates,
            left_out=left_out,
            without_stream=gallery.without_stream,
            streams=(streams := _streams(model, gallery)),
            train_list=train_list,
        ),
        "rules": rules_of(args.v2t, facts, args.bootstrap),
        "schemes": schemes,
        "removed": removed,
        "patterns": assessment.patterns(measured.ranking),
        "weights": assessment.weights(),
    }
    return Outcome(parts, measured, str(device), _notes(held_out, benchmark, streams))


def _bank(args: ModelArgs, benchmark: Benchmark, model: MEE) -> TextEmbedding | None:
    """Training captions, each sentence once, where the normalisation wants them."""
    table = benchmark.table
    if not args.normalise.needs_bank or "split" not in table:
        return None
    captions = list(dict.fromkeys(table.loc[table["split"] == "train", "caption"]))
    return encode_captions(model, captions) if captions else None


def _choose(
    args: ModelArgs, benchmark: Benchmark, held_out: HeldOut, store: FeatureStore, model: MEE, system: System
) -> Outcome:
    """Multiple choice: every question's five sentences against its own clip."""
    assert benchmark.choices is not None
    if args.normalise.method != "none" or args.ranks or args.ablation:
        raise InputError(
            f"{args.protocol} ranks nothing: it has five sentences a question; leave out --normalise, --ranks and "
            "--ablation"
        )
    videos = gallery_of(benchmark, store, partial=args.partial)
    gallery = encode_gallery(model, store, list(videos.clip_ids))
    left_out = set(videos.left_out)
    found = [video for video in benchmark.gallery if video not in left_out]
    place = {clip_id: row for row, clip_id in enumerate(gallery.clip_ids + gallery.without_stream)}
    clip_of = dict(zip(found, (place[clip_id] for clip_id in videos.clip_ids)))
    questions = benchmark.choices[benchmark.choices["video_id"].isin(found)]
    sentences = [sentence for row in questions[list(SENTENCES)].itertuples(index=False) for sentence in row]
    text = encode_captions(model, sentences)
    scores = MixtureScores(text, gallery.video, model.layout, without_stream=len(gallery.without_stream))
    clips = torch.tensor([clip_of[video] for video in questions["video_id"]]).repeat_interleave(len(SENTENCES))
    pairs = scores.pairs(torch.arange(len(sentences), device=scores.device), clips.to(scores.device)).cpu()
    answers = torch.tensor(questions["answer"].tolist())
    choice = choice_accuracy(pairs.view(len(questions), len(SENTENCES)), answers, resamples=args.bootstrap)
    parts = {
        "system": system,
        "protocol": protocol_facts(
            benchmark,
            split="test",
            queries=choice.questions,
            gallery=len(place),
            left_out=videos.left_out,
            without_stream=gallery.without_stream,
            streams=(streams := _streams(model, gallery)),
            train_list=benchmark.train_list,
        ),
        "rules": rules_of(args.v2t, args.normalise.facts(None, 0), args.bootstrap),
        "choice": choice,
    }
    return Outcome(parts, None, str(scores.device), _notes(held_out, benchmark, streams))


def _streams(model: MEE, gallery: Gallery) -> dict[str, int]:
    return dict(zip(model.modalities, gallery.video.available.sum(0).tolist()))


def _notes(held_out: HeldOut, benchmark: Benchmark, streams: Mapping[str, int]) -> list[str]:
    """What a person should know, for stderr."""
    protocol = benchmark.protocol
    odd = [
        name
        for name, count in streams.items()
        if count and (name in protocol.missing or (protocol.only and name not in protocol.only))
    ]
    notes = [*held_out.notes, held_out.unchecked, *(f"partial: {short}" for short in benchmark.shortfalls)]
    notes += [f"note: {protocol.name} has no {name}, yet {streams[name]} of these clips do" for name in odd]
    return [note for note in notes if note]
