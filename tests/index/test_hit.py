"""Videos by their best moments are what grouping a full list gives, however few clips are searched for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.hit import Hit, best_videos, first_count, hits_of
from index.queries import Queries
from tests.index.galleries import SPOKEN, entries_of, in_memory, random_gallery, random_text


class Gallery:
    """Clips with scores, searched as an index is; counts how many clips it returns."""

    def __init__(self, clips):
        self.clips = sorted(clips, key=lambda clip: (-clip[2], clip[0]))
        self.given = 0

    def __call__(self, count, inside=None, outside=()):
        kept = [clip for clip in self.clips if clip[1] not in outside and (inside is None or clip[1] in inside)]
        self.given += len(kept[:count])
        return [
            Hit(rank, name, video, 0.0, 1.0, score, {})
            for rank, (name, video, score) in enumerate(kept[:count], 1)
        ]

    def videos(self, top, moments):
        """Grouping of all there is."""
        order = list(dict.fromkeys(video for _, video, _ in self.clips))[:top]
        return [(video, [clip[0] for clip in self.clips if clip[1] == video][:moments]) for video in order]


def answered(gallery, top, moments):
    return best_videos(gallery(first_count(top)), gallery, top=top, moments=moments)


@given(
    clips=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 5)), max_size=150),
    top=st.integers(1, 10),
    moments=st.integers(1, 4),
)
def test_grouping_is_as_if_all_clips_were_read(clips, top, moments):
    gallery = Gallery([(f"{number:03d}", video, score / 5) for number, (video, score) in enumerate(clips)])
    found = answered(gallery, top, moments)
    assert [(one.video, [hit.clip_id for hit in one.hits]) for one in found] == gallery.videos(top, moments)
    assert [one.rank for one in found] == list(range(1, len(found) + 1))
    assert all([hit.rank for hit in one.hits] == list(range(1, len(one.hits) + 1)) for one in found)


def test_a_long_video_that_is_best_throughout_hides_no_other_and_is_not_read_completely():
    long = [(f"long{number:05d}", "long", 0.9 - number * 1e-6) for number in range(20_000)]
    gallery = Gallery(long + [(f"short{number}", f"short{number}", 0.1 - number * 0.01) for number in range(5)])
    found = answered(gallery, 4, 3)
    assert [one.video for one in found] == ["long", "short0", "short1", "short2"]
    assert [hit.clip_id for hit in found[0].hits] == ["long00000", "long00001", "long00002"]
    assert gallery.given < 200


def test_a_search_that_misses_clips_gives_each_video_and_each_moment_once():
    names = [(f"{video}{number}", video) for video in "abcdef" for number in range(9)]
    whole = Gallery([(name, video, (57 * place) % 97 / 97) for place, (name, video) in enumerate(names)])

    def careless(count, inside=None, outside=()):
        hits = whole(count, inside, outside)
        return [hit for hit in hits if (ord(hit.clip_id[0]) + int(hit.clip_id[1]) + count) % 3]

    found = best_videos(careless(first_count(3)), careless, top=3, moments=4)
    names = [hit.clip_id for one in found for hit in one.hits]
    assert len(set(names)) == len(names)
    assert len({one.video for one in found}) == len(found)
    assert all(hit.video == one.video for one in found for hit in one.hits)
    for scores in ([one.score for one in found], *([hit.score for hit in one.hits] for one in found)):
        assert scores == sorted(scores, reverse=True)
    late = Gallery([("z", "z", 1.0), *((f"a{n:02d}", "a", 0.5) for n in range(40))])  # the best is found last

    def misses_it_first(count, inside=None, outside=()):
        return late(count, inside, outside if outside or inside else ("z",))

    found = best_videos(misses_it_first(first_count(2)), misses_it_first, top=2, moments=1)
    assert [one.video for one in found] == ["z", "a"]


@pytest.mark.parametrize("layout", SPOKEN)
def test_hits_say_the_same_one_by_one_and_together_and_their_parts_add_up(layout, monkeypatch):
    index = in_memory(entries_of(random_gallery(80, layout=layout), layout), layout)
    one, other = (Queries.of(random_text(5, seed, layout=layout)) for seed in (1, 2))
    queries = [
        Queries.mixture([(1.0, one.part(slice(n, n + 1))), (-0.5, other.part(slice(n, n + 1)))]) for n in (0, 1)
    ]
    queries = Queries.stacked([*queries, one.part(slice(2, 3))])
    ranked = index.rank(queries, 40)
    together = hits_of(ranked, queries, index)
    monkeypatch.setattr("index.hit.GATHERED", 1)
    assert hits_of(ranked, queries, index) == together
    for hits, ids, scores in zip(together, ranked.ids, ranked.scores):
        assert [hit.clip_id for hit in hits] == ids
        parts = [sum(share.contribution for share in hit.experts.values()) for hit in hits]
        assert parts == pytest.approx(scores.tolist(), abs=1e-6)
        assert all(hit.experts.keys() >= hit.words.keys() for hit in hits)
    assert any(hit.words for hit in together[2])
