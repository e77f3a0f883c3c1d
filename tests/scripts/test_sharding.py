"""Shards: disjoint, complete, steady; and what launchers say of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from scripts.precompute import Shard, parse_shard

names = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), unique=True, max_size=40)


@given(names, st.integers(1, 12))
def test_every_file_falls_to_one_shard(videos, count):
    shards = [Shard(index, count) for index in range(count)]
    assert [sum(shard.holds(video) for shard in shards) for video in videos] == [1] * len(videos)


@given(names, names, st.integers(1, 12), st.data())
def test_a_file_keeps_its_shard_while_the_library_grows(old, new, count, data):
    shard = Shard(data.draw(st.integers(0, count - 1)), count)
    before = {video for video in old if shard.holds(video)}
    assert {video for video in {*old, *new} if shard.holds(video)} & set(old) == before


def test_shards_are_of_about_one_size_and_the_same_everywhere():
    videos = [f"folder/{number:05d}.mp4" for number in range(4000)]
    sizes = [sum(Shard(index, 4).holds(video) for video in videos) for index in range(4)]
    assert min(sizes) > 900
    assert Shard(0, 16).holds("a.mp4")  # sha256sum says e6d48eabd560bc60...
    assert Shard(0xBC60, 1 << 16).holds("a.mp4")
    assert Shard(0x1B40, 1 << 16).holds("ä/b.mp4")  # 23c5a64f3b351b40..., of the name in UTF-8


def test_words():
    assert parse_shard("0/1", {}) == Shard()
    assert parse_shard("3/4", {}) == Shard(3, 4)


@pytest.mark.parametrize("word", ["", "1", "1/", "/2", "a/b", "-1/4", "1/2/3", "1 / 2", "1.0/2", "²/4"])
def test_words_that_are_no_shard(word):
    with pytest.raises(ValueError, match="shard must be i/n, such as 0/4, or env; got"):
        parse_shard(word, {})


@pytest.mark.parametrize("word", ["4/4", "1/0", "0/0"])
def test_shards_are_counted_from_0(word):
    with pytest.raises(ValueError, match=f"i from 0 to n - 1.*got {word}"):
        parse_shard(word, {})


TORCHRUN = {"RANK": "2", "WORLD_SIZE": "8"}
SRUN = {"SLURM_PROCID": "1", "SLURM_NTASKS": "4"}


@pytest.mark.parametrize(
    ("environment", "shard"),
    [(TORCHRUN, Shard(2, 8)), (SRUN, Shard(1, 4)), (TORCHRUN | SRUN, Shard(2, 8))],
)
def test_what_launchers_say(environment, shard):
    assert parse_shard("env", environment) == shard


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "neither RANK .* nor SLURM_PROCID"),
        ({"RANK": "1"}, "WORLD_SIZE ''"),
        ({"RANK": "two", "WORLD_SIZE": "4"}, "RANK is 'two'"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "RANK is '4' and WORLD_SIZE '4'"),
        ({"RANK": "-1", "WORLD_SIZE": "4"}, "RANK is '-1'"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "0"}, "SLURM_NTASKS '0'"),
        (SRUN | {"SLURM_ARRAY_TASK_ID": "3"}, "elements of a job array"),  # all of them see one task
    ],
)
def test_environments_that_say_nothing_or_nonsense(environment, says):
    with pytest.raises(InputError, match=f"^--shard env: .*{says}.*--shard"):
        parse_shard("env", environment)
