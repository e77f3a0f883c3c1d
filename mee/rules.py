"""What a result says of its rules and of its question, the same for models and for scores of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mee.annotations import file_stamp
from mee.bootstrap import LEVEL
from mee.protocols.protocol import Benchmark
from mee.ranking.rank import CONVENTIONS, Convention
from mee.result import Normalisation, ProtocolFacts, Rules


def rules_of(v2t: Convention, normalisation: Normalisation, resamples: int, *, seed: int = 0) -> Rules:
    """How it was measured.

    Args:
        v2t: see mee.ranking.rank.
        normalisation: of the scores.
        resamples: of the bootstrap; 0: no intervals.
        seed: of the bootstrap.
    """
    how = f"{100 * LEVEL:g} % bootstrap over queries, {resamples:,} resamples, seed {seed}"
    return Rules(v2t=CONVENTIONS[v2t], normalisation=normalisation, intervals=how if resamples else "")


def protocol_facts(
    benchmark: Benchmark,
    *,
    split: str,
    queries: int,
    gallery: int,
    missing: Sequence[str] = (),
    left_out: Sequence[str] = (),
    without_stream: Sequence[str] = (),
    streams: Mapping[str, int] | None = None,
    train_list: str | None = None,
) -> ProtocolFacts:
    """What was asked; partial where anything falls short of the protocol, counts that nobody explained included.

    Args:
        benchmark: the protocol with its files.
        split: whose captions.
        queries: that were ranked.
        gallery: clips that competed.
        missing: how it falls short besides the files, a sentence each.
        left_out: captioned videos that were not to be had.
        without_stream: clips that share the last place.
        streams: modality -> clips that have it.
        train_list: what the system was trained on, where that is one of the protocol's lists.
    """
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
        train_list=train_list,
        queries=queries,
        gallery=gallery,
        expected_queries=protocol.queries if test else None,
        expected_gallery=protocol.gallery if test else None,
        partial=bool(short or left_out),
        missing=short,
        left_out=tuple(left_out),
        without_stream=tuple(without_stream),
        streams=dict(streams or {}),
        files={role: file_stamp(file) for role, file in benchmark.files.items()},
    )
