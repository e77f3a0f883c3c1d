"""Which caption belongs to which clips, and which streams a model needs of a source."""

from dataclasses import replace

import pandas as pd
import pytest

from mee.data.pairs import match_captions
from mee.data.source import check_source, load_ragged
from mee.errors import InputError


def table(*video_ids):
    rows = [(video_id, f"caption {number}") for number, video_id in enumerate(video_ids)]
    return pd.DataFrame(rows, columns=["video_id", "caption"])


def match(source, *video_ids, partial=False):
    return match_captions(table(*video_ids), source, partial=partial)


def test_a_video_is_named_in_full_or_without_its_ending_and_means_all_its_clips(make_source):
    pairs, left_out = match(make_source(["a/v1.mp4", "v.2.mkv"]), "a/v1.mp4", "a/v1", "v.2")
    assert pairs.videos == ("a/v1.mp4", "a/v1.mp4", "v.2.mkv")
    assert pairs.clip_ids == (("a/v1.mp4",), ("a/v1.mp4",), ("v.2.mkv",))
    assert pairs.captions == ("caption 0", "caption 1", "caption 2")
    assert left_out == []
    source = make_source(["long.mp4"], clips_of_video=3, failed={"long.mp4": "timed out"})  # of another clip
    pairs, _ = match(source, "long", "long.mp4#t=10,20")
    assert pairs.clip_ids == (tuple(source.clips.index), ("long.mp4#t=10,20",))
    assert (set(pairs.videos), pairs.gallery) == ({"long.mp4"}, list(source.clips.index))


def test_failed_unknown_and_ambiguous_videos_are_refused_with_a_reason_and_counted(make_source):
    source = make_source(["v.mp4"], failed={"bad.mp4": "no picture"})
    for video_id in ("bad.mp4", "bad"):
        with pytest.raises(InputError, match=rf"1 of 2 captioned videos .* {video_id} \(no picture\)"):
            match(source, "v", video_id)
    with pytest.raises(InputError, match=r"5 of 6 .* u0 \(not in the store\); .* and 2 more\. .*--partial"):
        match(source, "v", *(f"u{number}" for number in range(5)), "u0")
    pairs, left_out = match(source, "u", "v", "u", partial=True)
    assert left_out == ["u"]
    assert pairs.captions == ("caption 1",)
    with pytest.raises(InputError, match="1 of 1"):
        match(source, "u", partial=True)
    source = make_source(["v.mp4", "v.webm"])  # a name that two videos share
    for both in (source, make_source(["v.mp4"], failed={"v.webm": "no picture"})):
        with pytest.raises(InputError, match=r"v \(may be v\.mp4 or v\.webm\)"):
            match(both, "v")
    assert match(source, "v.webm")[0].videos == ("v.webm",)


def test_some_captions_only_and_the_digest_differs_with_captions_clips_and_order(make_source):
    source = make_source(["a.mp4", "b.mp4"])
    assert len({match(source, *ids)[0].digest for ids in (("a", "b"), ("b", "a"), ("a",), ("a", "a"))}) == 4
    assert match(source, "a", "b")[0].digest == match(source, "a.mp4", "b.mp4")[0].digest
    pairs, _ = match(source, "a", "b", "a")
    assert pairs.where([True, False, False]).captions == ("caption 0",)
    assert pairs.of_videos({"a.mp4"}).captions == ("caption 0", "caption 2")
    assert (len(pairs.of_videos(set())), pairs.of_videos(set()).gallery) == (0, [])


# ---- streams of a source


def test_streams_are_loaded_by_modality_and_must_be_the_models(source, model_config):
    ids = list(source.clips.index)[:4]
    clips = load_ragged(source, ["audio", "motion"], ids)
    assert list(clips) == ["audio", "motion"]
    for modality, ragged in clips.items():
        lengths = [0 if rows is None else len(rows) for rows in source.read(modality, ids)]
        assert ragged.all().lengths.tolist() == lengths
        assert ragged.all().available.tolist() == [length > 0 for length in lengths]
    check_source(replace(model_config, experts=model_config.experts[:2]), source)  # it may have more
    source.fingerprints["audio"] = "other"
    with pytest.raises(InputError, match=r"another extractor .*fingerprint other.*made-audio.*--overwrite"):
        check_source(model_config, source)
    source.fingerprints["audio"], source.dims["audio"] = "made-audio", 99
    with pytest.raises(InputError, match=r"size 99.*size 3"):
        check_source(model_config, source)
    del source.dims["audio"]
    with pytest.raises(InputError, match=r"store has no 'audio' stream.*--streams audio"):
        check_source(model_config, source)
