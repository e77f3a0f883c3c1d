"""The tail is what was put last, and segments made from it earlier stay as they were."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from index.storage.log import Removal
from index.storage.snapshot import Snapshot
from index.storage.tail import Tail, replay
from tests.index.made_clips import LAYOUT, ORIGIN, as_dict, contents, made_entries

SOME = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)


def seen(segment):
    return contents(Snapshot(LAYOUT, ORIGIN).with_segments([segment])) if segment else {}


@given(st.lists(st.tuples(st.booleans(), SOME), max_size=12))
def test_it_holds_what_a_dict_holds(steps):
    tail, held, then = Tail(LAYOUT, constants=False), {}, []
    for seed, (put, ids) in enumerate(steps):
        if put:
            entries = made_entries(ids, seed=seed).checked(LAYOUT)
            tail.put(entries)
            held |= as_dict(entries)
        else:
            tail.remove(ids)
            held = {clip_id: kept for clip_id, kept in held.items() if clip_id not in ids}
        then.append((tail.segment(), dict(held)))
    for segment, expected in then:
        assert seen(segment) == expected


def test_records_take_clips_out_of_segments():
    one = Snapshot.of(made_entries(["a", "b", "c", "d"]), LAYOUT, ORIGIN).segments[0]
    tail = Tail(LAYOUT, constants=False)
    records = [made_entries(["b", "x"], seed=1).checked(LAYOUT), Removal(["c", "x"])]
    (segment,) = replay(records, [one], tail)
    assert set(seen(segment)) == {"a", "d"}
    assert set(seen(tail.segment())) == {"b"}
    assert set(seen(one)) == {"a", "b", "c", "d"}
    assert (len(segment), len(one)) == (2, 4)
    assert segment.find("b") is None
    assert segment.without(np.array([], dtype=np.int64)) is segment


def test_many_single_clips_make_few_chunks():
    tail = Tail(LAYOUT, constants=False)
    for number in range(200):
        tail.put(made_entries([f"{number:03d}"]).checked(LAYOUT))
    assert tail.segment().table.arrow["clip_id"].num_chunks <= 8
