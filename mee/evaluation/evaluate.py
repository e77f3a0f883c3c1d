"""What `mee evaluate` measures: a model on held-out captions, multiple choice, another system's scores.

All of them, and training after every epoch, rank and sum up by `mee.evaluation.measure`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mee.checkpoint import check_directory, fingerprint, read_training
from mee.data import FeatureSource, check_apart, check_ids_apart, find_videos, read_videos
from mee.encode import Gallery, encode_captions, encode_gallery
from mee.errors import InputError
from mee.evaluation.config import EvaluateConfig, EvaluateModelConfig, EvaluateScoresConfig, NormaliseConfig
from mee.evaluation.held_out import HeldOut, gallery_videos, held_out_pairs, selected_on, trained_on
from mee.evaluation.measure import Answers, Measured, Names, measure_scores
from mee.evaluation.metrics import LEVEL, choice_accuracy
from mee.evaluation.result import Choice, Normalisation, ProtocolFacts, Rules, System
from mee.evaluation.retrieval import Retrieval
from mee.external_scores import match_scores, read_scores
from mee.model import MEE, TextEmbedding
from mee.protocols import SENTENCES, Benchmark, file_stamp, load_benchmark
from mee.ranking import CONVENTIONS, MixtureScores, Scores
from mee.text import Unread
from mee.zero_shot import standing_out


@dataclass(frozen=True)
class Outcome:
    """An evaluation that is not written yet."""

    parts: Mapping[str, Any]  # of a Result, all but `made`
    answers: Answers | None  # of each query; None for multiple choice
    notes: Sequence[str] = ()  # for the user


def evaluate_model(
    config: EvaluateModelConfig, source: FeatureSource, device: torch.device, *, answers: bool = False
) -> Outcome:
    """Measure a model; `answers`: whether each query's answers are needed, which multiple choice has not.

    Raises:
        InputError: the model, the captions or the streams cannot be used, or do not belong together.
    """
    directory = config.model
    check_directory(directory)
    model = MEE.from_pretrained(directory).to(device)
    record = read_training(directory)
    train_list = record.get("train_list") if record.get("protocol") == config.protocol else None
    benchmark = _benchmark(config, train_list)
    held_out = held_out_pairs(
        benchmark.table, source, record, split=config.split, partial=config.partial, protocol=config.protocol
    )
    system = System(
        name=config.name or directory.resolve().name,
        kind="model",
        checkpoint=fingerprint(directory),
        seed=record.get("training", {}).get("seed"),
        modalities=model.modalities,
        missing=model.layout.missing,
        trained_on=trained_on(record),
        selected_on=selected_on(record),
        selected_here=held_out.selected,
    )
    measured, bank, figures, normalise, fitted_on = None, None, dict[str, Any](), config.normalise, None
    if benchmark.choices is not None:
        if config.normalise.method != "none" or answers or config.ablation:
            advice = "leave out --normalise, --ranks and --ablation"
            raise InputError(f"{config.protocol} ranks nothing: it has five sentences a question; {advice}")
        choice, gallery, left_out = _multiple_choice(model, source, benchmark, config)
        counts, train_list = ("test", choice.questions, len(gallery.names)), benchmark.train_list
        figures["choice"] = choice
    else:
        clip_ids, left_out = held_out.pairs.gallery, held_out.left_out
        if benchmark.is_named and held_out.split == "test":
            clip_of, left_out = gallery_videos(benchmark, source, partial=config.partial)
            clip_ids = list(clip_of.values())
            videos = set(source.clips.loc[clip_ids, "video"])  # some may have no caption
            check_apart(record, videos, source, what="the gallery", ids=benchmark.gallery)
        elif config.judgments and held_out.split == "test":  # videos that were judged and are right for no query
            found, left = find_videos(benchmark.gallery, source, partial=config.partial)
            clip_ids, left_out = list(dict.fromkeys(c for _, clips in found.values() for c in clips)), tuple(left)
            check_apart(record, [video for video, _ in found.values()], source, what="the gallery")
        gallery = encode_gallery(model, source, clip_ids)
        captions = _training_captions(config, benchmark)
        bank = encode_captions(model, captions) if captions else None
        if normalise.unknown and held_out.split == "test":
            normalise, fitted_on = _fitted(config, benchmark, source, record, model, captions, bank)
        pairs, clips = held_out.pairs, source.clips
        ranked = Retrieval.of(model, gallery, pairs, clips=clips, v2t=config.v2t, normalise=normalise, bank=bank)
        measured = ranked.measure(resamples=config.bootstrap, answers=True)
        counts = (held_out.split, measured.t2v.queries, measured.t2v.candidates)
        figures = {
            **_directions(measured),
            "schemes": ranked.schemes() if config.ablation else (),
            "removed": ranked.removed() if config.ablation else (),
            "patterns": ranked.patterns(measured.ranking),
            "weights": ranked.weights(),
        }
    size = 0 if bank is None else len(bank.packed)
    streams = dict(zip(model.modalities, gallery.video.available.sum(0).tolist()))
    others: dict[str, Any] = {"streams": streams, "without_stream": gallery.without_stream}
    others |= {"digest": measured.digest, "judgments": measured.judgments} if measured else {}
    parts = {
        "system": system,
        "protocol": protocol_facts(benchmark, *counts, left_out=left_out, train_list=train_list, **others),
        "rules": rules_of(config, normalise.facts(f"{size:,} training captions", size, fitted_on)),
        **figures,
    }
    unread = Unread().look(model.readers, held_out.pairs.captions)
    notes = _notes(held_out, benchmark, streams) + unread.notes("captions")
    notes += _shared(measured) if measured else []
    return Outcome(parts, measured.answers if measured else None, notes)


def _benchmark(config: EvaluateConfig, train_list: str | None = None) -> Benchmark:
    own: Any = {"columns": config.columns, "judgments": config.judgments}
    return load_benchmark(config.protocol, config.captions, train_list=train_list, partial=config.partial, **own)


def _shared(measured: Measured) -> list[str]:
    """A note on captions whose text several clips have."""
    ways = "text to video each is asked for its own, video to text the copies tie, and a tie is no R@1"
    note = f"note: {measured.shared:,} captions are shared by several videos: {ways} (docs/evaluation.md)"
    return [note] if measured.shared else []


def _training_captions(config: EvaluateConfig, benchmark: Benchmark) -> list[str]:
    """The bank: each training sentence once, where the normalisation needs one."""
    table = benchmark.table
    if not config.normalise.needs_bank or "split" not in table:
        return []
    return list(dict.fromkeys(table.loc[table["split"] == "train", "caption"]))


def _fitted(
    config: EvaluateConfig,
    benchmark: Benchmark,
    source: FeatureSource,
    record: Mapping[str, Any],
    model: MEE,
    captions: Sequence[str],
    bank: TextEmbedding | None,
) -> tuple[NormaliseConfig, str | None]:
    """Parameters fitted on captions of split val, or of the videos that training held out; and on which, in words.

    They are ranked among their own clips, with the rest of the bank.
    """
    try:
        table, protocol = benchmark.table, config.protocol
        pairs = held_out_pairs(table, source, record, split="val", partial=True, protocol=protocol).pairs
    except InputError:
        return config.normalise, None  # it must be given
    if bank is not None:
        held = set(pairs.captions)
        bank = bank[torch.tensor([row for row, caption in enumerate(captions) if caption not in held])]
    gallery = encode_gallery(model, source, pairs.gallery)
    held_out = Retrieval.of(model, gallery, pairs, bank=bank)
    clips = held_out.right_clip(held_out.positives.query.unique())

    def ranks(normalise: NormaliseConfig) -> NDArray[np.float64]:
        return replace(held_out, normalise=normalise).measure().ranking.t2v.rank.cpu().numpy()

    chosen = config.normalise.fitted(ranks, clips)
    where = "of split 'val'" if (table["split"] == "val").any() else "of videos that training held out"
    return chosen, f"{len(pairs):,} captions {where}"


def _multiple_choice(
    model: MEE, source: FeatureSource, benchmark: Benchmark, config: EvaluateConfig
) -> tuple[Choice, Gallery, tuple[str, ...]]:
    """Score every question's five sentences against its own clip; also the gallery and what it leaves out."""
    assert benchmark.choices is not None
    clip_of, left_out = gallery_videos(benchmark, source, partial=config.partial)
    gallery = encode_gallery(model, source, list(clip_of.values()))
    row_of = {clip_id: row for row, clip_id in enumerate(gallery.names)}
    questions = benchmark.choices[benchmark.choices["video_id"].isin(list(clip_of))]
    sentences = [sentence for row in questions[list(SENTENCES)].itertuples(index=False) for sentence in row]
    text = standing_out(model, encode_captions(model, sentences), gallery.video)
    scores = MixtureScores(text, gallery.video, model.layout, without_stream=len(gallery.without_stream))
    rows = torch.tensor([row_of[clip_of[video]] for video in questions["video_id"]])
    candidates = rows.repeat_interleave(len(SENTENCES)).to(scores.device)
    pairs = scores.pairs(torch.arange(len(sentences), device=scores.device), candidates).cpu()
    right = torch.tensor(questions["answer"].tolist())
    grid = pairs.view(len(questions), len(SENTENCES))
    return choice_accuracy(grid, right, resamples=config.bootstrap), gallery, left_out


def evaluate_scores(config: EvaluateScoresConfig, device: torch.device) -> Outcome:
    """Measure another system.

    Raises:
        InputError: a file cannot be used, or its ids are not the protocol's, or it was trained on test videos.
    """
    benchmark = _benchmark(config)
    if benchmark.choices is not None:
        raise InputError(f"{config.protocol} is multiple choice, which needs a model: mee evaluate STORE … MODEL")
    table = benchmark.table
    test = table[table["split"] == "test"] if "split" in table else table
    if not len(test):
        raise InputError(f"'{config.captions}' has no caption of split 'test', so there is nothing to rank")
    trained = None if config.trained_on is None else set(read_videos(config.trained_on))
    if trained is not None:
        check_ids_apart(trained, set(benchmark.gallery), str(config.trained_on))
    ids = {"query_ids": config.query_ids, "clip_ids": config.clip_ids}
    file = read_scores(config.scores, **ids, video=config.video, unit_norm=config.unit_norm, device=device)
    right: dict[str, list[str]] = {}
    for query, video in zip(test["query_id"], test["video_id"]):
        right.setdefault(query, []).append(video)
    queries = sorted(right.items(), key=lambda item: sorted(item[1]))  # captions of a video side by side
    matched = match_scores(file, queries, benchmark.gallery, partial=config.partial)
    bank = _bank_scores(config, matched.scores.clip_ids, device)
    offsets = config.normalise.offsets(bank)
    kept = [queries[place][0] for place in matched.queries]
    caption_of = dict(zip(test["query_id"], test["caption"]))
    captions = [caption_of[query] for query in kept]
    names = Names(kept, captions, matched.scores.clip_ids)
    normalised = config.normalise.apply(matched.scores, offsets)
    measured = measure_scores(normalised, matched.positives, names, v2t=config.v2t, resamples=config.bootstrap)
    files = {"trained on": config.trained_on, "bank": config.bank}
    size = 0 if bank is None else bank.queries
    missing, left_out = matched.left_out.sentences, matched.left_out.clips
    counts = ("test", measured.t2v.queries, measured.t2v.candidates)
    facts: Any = {"digest": measured.digest, "judgments": measured.judgments}
    parts = {
        "system": System(
            name=config.name or config.scores.stem,
            kind="scores",
            seed=config.seed,
            files={**file.files, **{role: file_stamp(path) for role, path in files.items() if path}},
            rule=file.scores.rule,
            trained_on=None if trained is None else f"{len(trained):,} videos, {config.trained_on}",
        ),
        "protocol": protocol_facts(benchmark, *counts, missing=missing, left_out=left_out, **facts),
        "rules": rules_of(config, config.normalise.facts(f"{size:,} captions of {config.bank}", size)),
        **_directions(measured),
    }
    notes = [f"partial: {sentence}" for sentence in (*benchmark.shortfalls, *missing)] + _shared(measured)
    if config.trained_on is None:
        notes.append("note: it is unknown what this system was trained on; --trained-on FILE checks it")
    return Outcome(parts, measured.answers, notes)


def _bank_scores(config: EvaluateScoresConfig, clip_ids: Sequence[str], device: torch.device) -> Scores | None:
    if config.bank is None or not config.normalise.needs_bank:
        return None
    file = read_scores(config.bank, unit_norm=config.unit_norm, device=device)
    column = {clip_id: number for number, clip_id in enumerate(file.scores.clip_ids)}
    missing = [clip_id for clip_id in clip_ids if clip_id not in column]
    if missing:
        some = f"{len(missing):,} clips of the gallery, '{missing[0]}' among them"
        raise InputError(f"{config.bank} has no scores of {some}; a bank scores the same clips")
    return file.scores.take(range(file.scores.queries), [column[clip_id] for clip_id in clip_ids])


def _directions(measured: Measured) -> dict[str, Any]:
    assert measured.answers
    best, worst = (measured.answers.examples(descending=descending) for descending in (False, True))
    return {"text_to_video": measured.t2v, "video_to_text": measured.v2t, "best": best, "worst": worst}


def rules_of(config: EvaluateConfig, how: Normalisation) -> Rules:
    intervals = f"{100 * LEVEL:g} % bootstrap over queries, {config.bootstrap:,} resamples, seed 0"
    return Rules(v2t=CONVENTIONS[config.v2t], normalisation=how, intervals=intervals if config.bootstrap else "")


def protocol_facts(
    benchmark: Benchmark,
    split: str,
    queries: int,
    gallery: int,
    *,
    missing: Sequence[str] = (),
    left_out: Sequence[str] = (),
    **others: Any,
) -> ProtocolFacts:
    """Partial where anything falls short of the protocol, a count without an explanation included."""
    protocol, test = benchmark.protocol, split == "test"
    short = (*(benchmark.shortfalls if test else ()), *missing)
    if test and not short and not left_out:
        counts = (("queries", queries, protocol.queries), ("clips", gallery, protocol.gallery))
        short = tuple(
            f"{count:,} {what}, and {protocol.name} has {expected:,}"
            for what, count, expected in counts
            if expected is not None and count != expected
        )
    return ProtocolFacts(
        name=protocol.name,
        title=protocol.title,
        split=split,
        query_rule=protocol.query_rule,
        queries=queries,
        gallery=gallery,
        expected_queries=protocol.queries if test else None,
        expected_gallery=protocol.gallery if test else None,
        partial=bool(short or left_out),
        missing=short,
        left_out=tuple(left_out),
        files=dict(benchmark.files),
        **others,
    )


def _notes(held_out: HeldOut, benchmark: Benchmark, streams: Mapping[str, int]) -> list[str]:
    protocol = benchmark.protocol
    odd = [
        name
        for name, count in streams.items()
        if count and (name in protocol.missing or (protocol.only and name not in protocol.only))
    ]
    notes = [*held_out.notes, held_out.unchecked, *(f"partial: {short}" for short in benchmark.shortfalls)]
    notes += [f"note: {protocol.name} has no {name}, yet {streams[name]} of these clips do" for name in odd]
    return [note for note in notes if note]
