"""mee evaluate ANNOTATIONS --scores FILE: scores of any other system, under the same rule."""

from __future__ import annotations

from collections.abc import Sequence

from mee.data import check_ids_apart, read_videos
from mee.errors import InputError
from mee.evaluation import Names, System, measure_scores, protocol_facts, rules_of
from mee.external_scores import ScoreFile, match_scores, read_scores
from mee.protocols import Benchmark, file_stamp, load_benchmark
from mee.ranking import Scores
from scripts.console import pick_device
from scripts.evaluation.args import ScoresArgs
from scripts.evaluation.output import Outcome


def evaluate_scores(args: ScoresArgs) -> Outcome:
    """Measure another system."""
    device = pick_device(args.device)
    benchmark = load_benchmark(args.protocol, args.captions, partial=args.partial)
    if benchmark.choices is not None:
        raise InputError(f"{args.protocol} asks multiple choice, which needs a model: mee evaluate STORE … MODEL")
    table = benchmark.table
    test = table[table["split"] == "test"] if "split" in table else table
    if not len(test):
        raise InputError(f"'{args.captions}' has no caption of split 'test', so there is nothing to ask")
    trained: set[str] | None = None
    if args.trained_on is not None:
        trained = set(read_videos(args.trained_on))
        check_ids_apart(trained, set(benchmark.gallery), str(args.trained_on))
    file = read_scores(
        args.scores,
        query_ids=args.query_ids,
        clip_ids=args.clip_ids,
        video=args.video,
        unit_norm=args.unit_norm,
        device=device,
    )
    order = test.sort_values("video_id", kind="stable")  # captions of a video side by side
    queries = [(query, [video]) for query, video in zip(order["query_id"], order["video_id"])]
    matched = match_scores(file, queries, benchmark.gallery, partial=args.partial)
    bank = _bank(args, matched.scores.clip_ids)
    offsets = args.normalise.offsets(bank)
    kept = order.iloc[list(matched.queries)]
    names = Names(
        query_ids=kept["query_id"].tolist(),
        captions=kept["caption"].tolist(),
        clip_ids=matched.scores.clip_ids,
    )
    scores = args.normalise.apply(matched.scores, offsets)
    measured = measure_scores(scores, matched.positives, names, v2t=args.v2t, resamples=args.bootstrap)
    size = 0 if bank is None else bank.queries
    parts = {
        "system": _system(args, file, trained),
        "protocol": protocol_facts(
            benchmark,
            split="test",
            queries=measured.t2v.queries,
            gallery=measured.t2v.candidates,
            missing=matched.left_out.sentences,
            left_out=matched.left_out.clips,
        ),
        "rules": rules_of(
            args.v2t, args.normalise.facts(f"{size:,} captions of {args.bank}", size), args.bootstrap
        ),
    }
    return Outcome(parts, measured, str(device), _notes(args, benchmark, matched.left_out.sentences))


def _bank(args: ScoresArgs, clip_ids: Sequence[str]) -> Scores | None:
    """Scores of training captions against the same clips."""
    if args.bank is None or not args.normalise.needs_bank:
        return None
    file = read_scores(args.bank, unit_norm=args.unit_norm, device=pick_device(args.device))
    column = {clip_id: number for number, clip_id in enumerate(file.scores.clip_ids)}
    lacking = [clip_id for clip_id in clip_ids if clip_id not in column]
    if lacking:
        raise InputError(
            f"{args.bank} has no scores of {len(lacking):,} clips of the gallery, '{lacking[0]}' among them; a "
            "bank scores the same clips"
        )
    return file.scores.take(range(file.scores.queries), [column[clip_id] for clip_id in clip_ids])


def _system(args: ScoresArgs, file: ScoreFile, trained: set[str] | None) -> System:
    files = dict(file.files)
    if args.trained_on is not None:
        files["trained on"] = file_stamp(args.trained_on)
    if args.bank is not None:
        files["bank"] = file_stamp(args.bank)
    return System(
        name=args.name or args.scores.stem,
        kind="scores",
        seed=args.seed,
        files=files,
        rule=file.scores.rule,
        trained_on=None if trained is None else f"{len(trained):,} videos, {args.trained_on}",
    )


def _notes(args: ScoresArgs, benchmark: Benchmark, sentences: Sequence[str]) -> list[str]:
    notes = [f"partial: {sentence}" for sentence in (*benchmark.shortfalls, *sentences)]
    if args.trained_on is None:
        notes.append("note: nobody said what this system was trained on; --trained-on FILE checks it")
    return notes
