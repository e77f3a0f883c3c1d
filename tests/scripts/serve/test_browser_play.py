"""Moments play at the right second in Chromium, whatever holds them: the picture itself tells its time."""

from itertools import cycle

import pytest

from scripts.serve.asked import key_of
from tests.scripts.serve.serve_world import CLIP_S, PLAYED

pytestmark = pytest.mark.slow
NEAR_S = 0.5


def clip_page(tab, clip_id):
    tab.open(f"/clip/{key_of(clip_id)}")
    return tab.one("main .clip .media")


def plays(tab, media, start_s):
    """The moment is on display when it starts and on its way, with sound or without; bytes of sound."""
    tab.until(lambda: media.get_attribute("data-state") == "ready", "ready")
    tab.keys(" ")
    begin_s = float(media.get_attribute("data-start"))
    for wait_s in (0.01, 1.5):
        tab.until(lambda until_s=begin_s + wait_s: tab.clock()["at_s"] >= until_s, "it plays")
        now = tab.clock()
        since = now["at_s"] - begin_s
        assert 0 <= since < CLIP_S
        assert abs(now["clock_s"] - start_s - since) < NEAR_S, now
    return now["heard"]


@pytest.mark.parametrize(("name", "moment"), [*zip(PLAYED, cycle((1, 2))), ("mpeg2.ts", 0), ("mpeg2.mpg", 2)])
def test_a_moment_plays_at_its_second(tab, name, moment):
    start_s = moment * CLIP_S
    media = clip_page(tab, f"{name}#t={start_s},{start_s + CLIP_S}")
    assert plays(tab, media, start_s) > 0


def test_it_stops_where_the_moment_ends(tab):
    media = clip_page(tab, "h264.mp4#t=4,8")
    plays(tab, media, 4)
    tab.until(lambda: media.get_property("paused"), "it stops")
    assert abs(tab.clock()["clock_s"] - 8) < NEAR_S


def test_seeking_within_a_moment(tab):
    media = clip_page(tab, "xvid.avi#t=4,8")
    tab.until(lambda: media.get_attribute("data-state") == "ready", "ready")
    tab.js("arguments[0].currentTime = Number(arguments[0].dataset.start) + 3", media)
    tab.until(lambda: not media.get_property("seeking"), "found")
    assert abs(tab.clock()["clock_s"] - 7) < NEAR_S


def test_high_dynamic_range_and_ten_bits(tab):
    assert plays(tab, clip_page(tab, "hdr.mp4#t=4,8"), 4) > 0


def test_without_sound(tab):
    assert plays(tab, clip_page(tab, "silent.mp4#t=4,8"), 4) == 0
    assert "no sound" in tab.one("main .clip").text.lower()


def test_a_turned_picture_is_upright(tab):
    media = clip_page(tab, "turned.mp4#t=4,8")
    tab.until(lambda: media.get_attribute("data-state") == "ready", "ready")
    assert (media.get_property("videoWidth"), media.get_property("videoHeight")) == (96, 160)


@pytest.mark.parametrize("name", ["still.jpg", "still.png"])
def test_a_still_is_shown(tab, name):
    media = clip_page(tab, name)
    assert media.tag_name == "img"
    tab.until(lambda: media.get_property("naturalWidth") == 160, "shown")


def test_sound_alone_plays(tab):
    media = clip_page(tab, "tone.mp3#t=4,8")
    assert media.tag_name == "audio"
    tab.keys(" ")
    tab.until(lambda: media.get_property("currentTime") > float(media.get_attribute("data-start")) + 0.3, "heard")
    assert media.get_property("webkitAudioDecodedByteCount") > 0
