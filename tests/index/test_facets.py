"""Facets: the filter of each value finds as many clips as were counted for it, whatever columns and values are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.facets import BARS, facets
from index.request import Request
from index.storage.writer import IndexWriter
from index.video_index import VideoIndex, selection_of
from mee.errors import InputError
from mee.layout import Layout
from tests.index.galleries import in_memory
from tests.index.made_clips import LAYOUT, ORIGIN, made_entries

SPOKEN = Layout(("appearance", "text", "speech"), (6, 3, 4), words=("text", "speech"))
FLOATS = st.floats(allow_nan=False)
KINDS = (
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-30, 30),
    FLOATS,
    FLOATS.map(lambda x: round(x, 1)),
    st.booleans(),
)
NASTY = st.text(st.sampled_from("ab\"'\\`\n\r\t\0\x1b\u202e\u2028ﬁé𝕏#(){}%=<"), max_size=6)
COLUMNS = st.dictionaries(
    st.one_of(NASTY, st.sampled_from(["and", "None", "ﬁ", "fi", "frame rate", "column", "1st", "split"])),
    st.one_of(*(st.lists(st.none() | kind, min_size=12, max_size=12) for kind in (NASTY, *KINDS))),
    max_size=4,
)


def asked(**fields):
    return Request(**{"sentence": "anything", **fields})


def ids_of(video_index, request):
    """The clips that a request may find, by its own filters, clip by clip."""
    selection = selection_of(request, video_index)[0]
    found = []
    for number, segment in enumerate(video_index.snapshot.segments):
        mask = None if selection is None else selection[number]
        for row, facts in enumerate(segment.table.arrow.to_pylist()):
            alive = segment.live is None or segment.live[row]
            if alive and "1" in facts["pattern"] and (mask is None or mask[row]):
                found.append(facts["clip_id"])
    return sorted(found)


def check(video_index, request, **options):
    """Every filter finds what was counted, and nothing is counted twice or left out."""
    every = ids_of(video_index, request)
    found = facets(video_index, request, **options)
    for facet in found:
        if facet.holds == "streams":
            continue
        seen = []
        for value, count in [*facet.values, (None, facet.missing)]:
            narrowed = ids_of(video_index, replace(request, where=facet.filter(value, request.where)))
            assert len(narrowed) == count, (facet, value)
            assert set(narrowed) <= set(every)
            seen += narrowed
        assert len(seen) == len(set(seen))
        assert facet.more or facet.holds == "numbers" or sorted(seen) == every
        assert len(facet.values) <= (BARS + 1 if facet.holds == "numbers" else options.get("most", 20))
    return {facet.column: facet for facet in found}


@given(
    columns=COLUMNS, seed=st.integers(0, 99), where=st.sampled_from([None, "duration > 1", "clip_id > 'c03' # x"])
)
def test_the_filter_of_a_value_finds_the_clips_that_were_counted(columns, seed, where):
    names = [f"c{number:02d}" for number in range(12)]
    video_index = in_memory(made_entries(names, seed), LAYOUT)
    columns = {n: v for n, v in columns.items() if n not in video_index.snapshot.columns.names and n != "duration"}
    video_index = in_memory(made_entries(names, seed, **columns), LAYOUT)
    found = check(video_index, asked(where=where), most=3)
    every = ids_of(video_index, asked(where=where))
    chosen = {
        n for n in columns if n != "streams" and any(columns[n][int(name[1:])] is not None for name in every)
    }
    assert found.keys() - {"streams", "video", "start_s", "end_s", "seed", "duration"} <= chosen
    finite = {
        n for n in chosen if all(x is None or not isinstance(x, float) or np.isfinite(x) for x in columns[n])
    }
    assert finite <= found.keys()


@given(numbers=st.sampled_from(KINDS[:4]).flatmap(lambda kind: st.lists(kind, min_size=40, max_size=40)))
def test_bars_are_of_one_width_and_hold_all_numbers(numbers):
    entries = made_entries([f"c{number:02d}" for number in range(40)], missing=0.0, n=numbers)
    facet = check(in_memory(entries, LAYOUT), asked(), columns=["n"])["n"]
    finite = [number for number in numbers if np.isfinite(number)]
    assert sum(count for _, count in facet.values) == len(finite)
    assert all(isinstance(edge, type(numbers[0])) for span, _ in facet.values for edge in span)
    if len(set(finite)) > BARS:
        widths = np.diff([float(low) for (low, _), _ in facet.values])
        np.testing.assert_allclose(widths[1:-1], widths[1], rtol=1e-6)


def test_what_counts_are_the_clips_that_a_request_may_find(tmp_path):
    """Two segments with replaced, removed and empty clips, and columns of two types; words; a clip to be like."""
    names = [f"c{number:02d}" for number in range(30)]
    more = {"split": ["test", None, "train"] * 10, "rating": list(range(30))}
    with IndexWriter.create(tmp_path / "ix", SPOKEN, ORIGIN) as writer:
        writer.put(made_entries(names, layout=SPOKEN, **more))
        writer.put(
            made_entries(
                names[5:9], 1, layout=SPOKEN, rating=[0.5, None, 2.5, 2.0], sharp=[True, None, True, False]
            )
        )
        writer.remove(names[:2])
    video_index = VideoIndex.open(tmp_path / "ix")
    like = ids_of(video_index, asked())[3]
    requests = [
        asked(), asked(where="rating >= 2 and split is None"), asked(said="says 1"), asked(like=like),
        asked(video="c07.mp4"), asked(written="c04 says", where="seed == 0"), asked(where="False"),
    ]  # fmt: skip
    for request in requests:
        found = check(video_index, request)
        patterns = [video_index.moments([name])[0].streams for name in ids_of(video_index, request)]
        wanted = {name: sum(name in each for each in patterns) for name in SPOKEN.names}
        assert dict(found["streams"].values) == wanted
        assert [count for _, count in found["streams"].values] == sorted(wanted.values(), reverse=True)
    assert found.keys() == {"streams"}
    assert found["streams"].to_dict()["values"][0].items() >= {"count": 0, "filter": None}.items()


def test_texts_of_many_values_are_counted_where_they_are_named():
    names = [f"c{number:04d}" for number in range(1100)]
    values = [f"{number % 1001}" for number in range(1100)]
    video_index = in_memory(
        made_entries(names, missing=0, many=values, long=["x" * 1001, "x" * 1000] * 550), LAYOUT
    )
    found = {facet.column: facet for facet in facets(video_index, asked())}
    assert found.keys().isdisjoint({"many", "video", "clip_id"})
    assert (found["long"].values, found["long"].more) == ((("x" * 1000, 550),), 1)
    (many,) = facets(video_index, asked(), ["many"], most=2)
    assert (many.values, many.more) == ((("0", 2), ("1", 2)), 999)
    assert [each.column for each in facets(video_index, asked(), ["clip_id", "streams", "many"])] == [
        "clip_id", "streams", "many",
    ]  # fmt: skip


def test_as_plain_containers(says):
    entries = made_entries(
        [f"c{n:02d}" for n in range(30)],
        missing=0,
        split=["test", 'a "b"\n', None] * 10,
        sharp=[True, False] * 15,
        length=[n / 8 for n in range(30)],
        year=[None, 2024, 2025] * 10,
    )
    found = facets(in_memory(entries, LAYOUT), asked(), ["split", "sharp", "length", "year", "streams"])
    says("\n".join(str(facet.to_dict()) for facet in found))


@pytest.mark.parametrize("column", ["splt", "pattern", "version", "offset"])
def test_other_columns_are_refused(column, says):
    video_index = in_memory(made_entries(["a", "b"], split=["x", "y"]), LAYOUT)
    with pytest.raises(InputError, match=column) as caught:
        facets(video_index, asked(), ["split", column])
    says(caught.value)


def test_an_index_without_clips_has_no_values():
    assert [facet.column for facet in facets(in_memory(made_entries([]), LAYOUT), asked())] == ["streams"]
