"""Bringing an index to what a store holds.

    not there, or --overwrite    made anew: what is at the place stays what is searched until the new one is whole
    there                        clips that left go first, if that is asked for; then constants; then new clips and
                                 those that changed are embedded and put, so many at a time: what is put is kept

Clips are put from the first on under the constants that the index says it has, so that no search mixes two kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from features.store.layout import PRESENT
from index.scanners.kinds import Settings
from index.storage.constants import Constants
from index.storage.entries import Entries
from index.storage.manifest import NAME, Origin
from index.storage.writer import IndexWriter
from mee.encode import encode_gallery
from mee.errors import InputError
from scripts.console import counting_bar
from scripts.index_plan import Plan, no_rows, planned, rows_of

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from features.store.feature_store import FeatureStore
    from index.storage.snapshot import Snapshot
    from mee.evaluation.constants_file import FileConstants
    from mee.model import MEE
    from scripts.build_index import KindAsked

CLIPS = 4096  # embedded and put at a time
LOOSE = 0.25  # of an index: so much beside its largest segment is worth a compaction


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What an index shall be."""

    store: FeatureStore
    model: MEE
    origin: Origin
    facts: pd.DataFrame  # scripts/index_facts.py
    metadata: pd.DataFrame | None = None  # by clip_id
    constants: FileConstants | None = None
    kind: KindAsked | None = None  # None: that which it has, or auto
    recall: float | None = None
    prune: bool = False
    overwrite: bool = False


@dataclass
class Report:
    """What was done."""

    new: int = 0  # of those that can be found
    changed: int = 0
    removed: int = 0
    left: list[str] = field(default_factory=list)  # no longer in the store, and still found
    unneeded: list[str] = field(default_factory=list)  # of the constants: clips that the index does not have
    compacted: bool = False


def synchronise(directory: Path, wanted: Wanted) -> Report:
    """Do it.

    Raises:
        InputError: the index is of another model or store or is written by another process, a clip has no
            constant, or what is put cannot be kept.
    """
    try:
        if wanted.overwrite or not (directory / NAME).is_file():
            return _make(directory, wanted)
        return _bring_up(directory, wanted)
    except InputError:
        raise
    except ValueError as error:  # the writer's, about what it is given
        raise InputError(f"'{directory}' cannot take this in: {error}") from error


def _make(directory: Path, wanted: Wanted) -> Report:
    plan = planned(wanted.facts, no_rows(), wanted.metadata)
    constants = _constants(wanted, plan, no_rows(), None)
    facts = None if constants is None else constants.facts
    with ExitStack() as stack:
        with counting_bar("embed", "clips") as on_embedded:
            parts = _embedded(wanted, plan, constants, on_embedded)
            first = list(islice(parts, 1))  # a store or model that cannot be used leaves nothing behind
            made = IndexWriter.create(
                directory,
                wanted.model.layout,
                wanted.origin,
                settings=settings_asked(Settings(), wanted.kind, wanted.recall),
                constants=facts,
                overwrite=wanted.overwrite,
            )
            writer = stack.enter_context(made)
            for entries in chain(first, parts):
                writer.put(entries)
        with counting_bar("compact", "clips") as on_compacted:
            writer.compact(progress=on_compacted)
    return Report(new=len(_with_streams(wanted)), compacted=True, unneeded=_unneeded(wanted, plan, no_rows()))


def _bring_up(directory: Path, wanted: Wanted) -> Report:
    with IndexWriter.open(directory) as writer:
        check_origin(directory, writer.snapshot, wanted)
        if writer.snapshot.origin != wanted.origin:  # the same model, moved
            writer.set_origin(wanted.origin)
        there = rows_of(writer.snapshot)
        plan = planned(wanted.facts, there, wanted.metadata)
        staying = there.drop(index=plan.left) if wanted.prune else there
        held = writer.snapshot.constants
        constants = _constants(wanted, plan, staying, held)
        settings = settings_asked(writer.snapshot.settings, wanted.kind, wanted.recall)
        new, changed = (len({*clip_ids} & {*_with_streams(wanted)}) for clip_ids in (plan.new, plan.changed))
        report = Report(new, changed, unneeded=_unneeded(wanted, plan, staying))
        if wanted.prune and plan.left:
            report.removed = writer.remove(plan.left)
        else:
            report.left = plan.left
        if constants is not None and constants.differ_from(held, staying):
            given = constants.mapping(staying.index)
            with counting_bar("constants", "clips") as on_compacted:
                writer.compact(constants=given, facts=constants.facts, progress=on_compacted)
            report.compacted = True
        with counting_bar("embed", "clips") as on_embedded:
            for entries in _embedded(wanted, plan, constants, on_embedded):
                writer.put(entries)
        if settings != writer.snapshot.settings or compaction_pays(writer.snapshot):
            with counting_bar("compact", "clips") as on_compacted:
                writer.compact(settings=settings, progress=on_compacted)
            report.compacted = True
    return report


def settings_asked(there: Settings, kind: KindAsked | None, recall: float | None) -> Settings:
    """What an index shall be that is this now.

    Raises:
        InputError: a recall is asked for, and the index is of a kind that is exact.
    """
    if kind is None and recall is None:
        return there
    try:
        return Settings(kind or there.kind, recall)
    except ValueError as error:
        raise InputError(f"the index is of kind {there.kind}: {error}") from error


def check_origin(directory: Path, snapshot: Snapshot, wanted: Wanted) -> None:
    """Refuse to mix what does not belong together.

    Raises:
        InputError: the index was made with another model, or of another store.
    """
    there = snapshot.origin
    if (there.model_fingerprint, there.store) != (wanted.origin.model_fingerprint, wanted.origin.store):
        raise InputError(
            f"'{directory}' was made with another model or store ('{there.model}', '{there.store}'); make it anew "
            "with --overwrite, or name another place"
        )


def compaction_pays(snapshot: Snapshot) -> bool:
    """Whether much of an index lies beside its largest segment on disk, in the log say, or no longer counts."""
    rows = sum(len(segment.table) for segment in snapshot.segments)
    largest = max((len(segment) for segment in snapshot.segments if segment.name), default=0)
    return rows - largest > LOOSE * sum(map(len, snapshot.segments))


def _constants(
    wanted: Wanted, plan: Plan, staying: pd.DataFrame, held: Mapping[str, Any] | None
) -> Constants | None:
    """Of all clips that can be found in the end; None: they shall have none."""
    if wanted.constants is None and held is None:
        return None
    others = staying.drop(index=plan.clips.index, errors="ignore")
    needed = [
        *_with_streams(wanted),
        *others.index[others["pattern"].str.contains("1").astype(bool)],
    ]
    if wanted.constants is not None:
        return Constants.of_file(wanted.constants, needed)
    assert held is not None
    return Constants.of_index(held, staying, needed)


def _with_streams(wanted: Wanted) -> list[str]:
    """Clips of the store that can be found."""
    streams = wanted.store.clips[list(wanted.model.modalities)] == PRESENT
    return streams.index[streams.any(axis=1)].tolist()


def _unneeded(wanted: Wanted, plan: Plan, staying: pd.DataFrame) -> list[str]:
    named = [] if wanted.constants is None else wanted.constants.clip_ids
    known = {*plan.clips.index, *staying.index}
    return [clip_id for clip_id in named if clip_id not in known]


def _embedded(
    wanted: Wanted, plan: Plan, constants: Constants | None, on_embedded: Callable[[int, int], None]
) -> Iterator[Entries]:
    """What is to be put, so many clips at a time."""
    asked = plan.put
    on_embedded(0, len(asked))
    for start in range(0, len(asked), CLIPS):
        some = asked[start : start + CLIPS]
        gallery = encode_gallery(wanted.model, wanted.store, some)
        clips = plan.clips.loc[some]
        if constants is not None:
            clips = clips.assign(**constants.columns(some))
        yield Entries.of(gallery, clips, wanted.model.layout)
        on_embedded(start + len(some), len(asked))
