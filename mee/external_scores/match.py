"""Match the ids of a score file with the queries and the gallery of a protocol.

    missing    in the protocol, not in the file        surplus    in the file, not in the protocol

Either is refused; with partial, missing ids are left out of the evaluation, and surplus ones are ignored. Order
may differ, and spelling (mee/data/names.py): rows and columns are picked by number, and no score is copied.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from mee.data import meet
from mee.errors import InputError, require
from mee.external_scores.read import ScoreFile, Side
from mee.external_scores.scores import NamedScores
from mee.ranking import Positives


@dataclass(frozen=True)
class LeftOut:
    """Ids that take no part in the evaluation."""

    queries: tuple[str, ...] = ()  # without scores, or none of whose right clips has any
    clips: tuple[str, ...] = ()
    surplus_queries: tuple[str, ...] = ()
    surplus_clips: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """The same as sentences, for a result."""
        parts = (
            (self.queries, "queries of the protocol were not scored"),
            (self.clips, "clips of the gallery were not scored"),
            (self.surplus_queries, "queries of the score file are not the protocol's"),
            (self.surplus_clips, "clips of the score file are not in the gallery"),
        )
        return tuple(f"{len(ids):,} {what}, {ids[0]!r} among them" for ids, what in parts if ids)


class Matched(NamedTuple):
    """Scores of the ids that both have."""

    scores: NamedScores  # of the kept queries and clips, in the protocol's order; `clip_ids` is the kept gallery
    positives: Positives
    queries: tuple[int, ...]  # which of the protocol's queries were kept
    left_out: LeftOut


def match_scores(
    file: ScoreFile, queries: Sequence[tuple[str, Collection[str]]], gallery: Sequence[str], *, partial: bool
) -> Matched:
    """Find the scores of a protocol's queries and gallery.

    Args:
        file: scores with ids.
        queries: id of each query and the ids of its right clips. The file may name a query by its right clip where
            every query has its own, as in MSR-VTT 1k-A.
        gallery: every clip that is searched.
        partial: go on with the ids that both have.

    Raises:
        InputError: ids are missing or surplus, or the file and the protocol have none in common.
    """
    names = _names(queries, file)
    rows, surplus_queries = _places(file.name, "query", names, file.scores.query_ids, partial=partial)
    columns, surplus_clips = _places(file.name, "clip", gallery, file.scores.clip_ids, partial=partial)
    clips = [clip for clip in gallery if clip in columns]
    number_of = {clip: number for number, clip in enumerate(clips)}
    known = set(gallery)
    kept: list[int] = []
    pairs: list[tuple[int, int]] = []
    for place, (query_id, right) in enumerate(queries):
        require(known.issuperset(right), f"the right clips of query {query_id!r} are not all in the gallery")
        found = sorted({number_of[clip] for clip in right if clip in number_of})
        if names[place] in rows and found:
            pairs.extend((len(kept), number) for number in found)
            kept.append(place)
    if not kept:
        raise InputError(f"{file.name} scores no query together with its right clip, so there is nothing to rank")
    scores = file.scores.take([rows[names[place]] for place in kept], [columns[clip] for clip in clips])
    query, candidate = torch.tensor(pairs, dtype=torch.int64).unbind(1)
    scored = set(kept)
    left_out = LeftOut(
        queries=tuple(query_id for place, (query_id, _) in enumerate(queries) if place not in scored),
        clips=tuple(clip for clip in gallery if clip not in columns),
        surplus_queries=surplus_queries,
        surplus_clips=surplus_clips,
    )
    return Matched(scores, Positives(query, candidate, len(kept), len(clips)), tuple(kept), left_out)


def _names(queries: Sequence[tuple[str, Collection[str]]], file: ScoreFile) -> list[str]:
    """The file's names of the queries: their ids, or their right clips, if each has its own and no id is found."""
    ids = [query_id for query_id, _ in queries]
    clips = [clip for _, right in queries for clip in right if len(right) == 1]
    if len(set(clips)) == len(queries):
        in_file = file.scores.query_ids
        if not meet(in_file, ids, file.name) and meet(in_file, clips, file.name):
            return clips
    return ids


def _places(
    name: str, side: Side, wanted: Sequence[str], found: Sequence[str], *, partial: bool
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Wanted id -> its place in the file, and the surplus ids."""
    require(len(set(wanted)) == len(wanted), f"the protocol names a {side} twice")
    meant = meet(found, wanted, name)
    places = {meant[each]: place for place, each in enumerate(found) if each in meant}
    surplus = tuple(each for each in found if each not in meant)
    missing = [each for each in wanted if each not in places]
    if not places:
        raise InputError(
            f"{name}: none of its {len(found):,} {side} ids is one of the protocol's {len(wanted):,}: it has "
            f"{found[0]!r}, and the protocol {wanted[0]!r}; name them as the protocol does"
        )
    if partial or not (missing or surplus):
        return places, surplus
    faults = []
    if missing:
        what = "queries" if side == "query" else "clips of the gallery"
        faults += [f"has no scores for {len(missing):,} of the protocol's {len(wanted):,} {what}, {missing[0]!r}"]
    if surplus:
        faults += [f"has {len(surplus):,} {side} ids that are not the protocol's, {surplus[0]!r}"]
    raise InputError(
        f"{name} {' among them, and '.join(faults)} among them; name and score what the protocol does, or go on "
        "with the ids that both have with --partial"
    )
