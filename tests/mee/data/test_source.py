"""What the model asks of a source of streams."""

from dataclasses import replace

import pytest

from mee.data.source import check_source, load_ragged
from mee.errors import InputError


def test_streams_are_loaded_by_modality(source):
    ids = list(source.clips.index)[:4]
    clips = load_ragged(source, ["audio", "motion"], ids)
    assert list(clips) == ["audio", "motion"]
    for modality, ragged in clips.items():
        streams = ragged.all()
        lengths = [0 if rows is None else len(rows) for rows in source.read(modality, ids)]
        assert streams.lengths.tolist() == lengths
        assert streams.available.tolist() == [length > 0 for length in lengths]


def test_the_models_own_source_is_accepted_and_may_hold_more(source, model_config):
    check_source(replace(model_config, experts=model_config.experts[:2]), source)


def test_a_missing_stream_is_refused(source, model_config):
    del source.dims["audio"]
    with pytest.raises(InputError, match=r"store has no 'audio' stream.*--streams audio"):
        check_source(model_config, source)


def test_a_stream_of_another_extractor_or_size_is_refused(source, model_config):
    source.fingerprints["audio"] = "other"
    with pytest.raises(InputError, match=r"another extractor .*fingerprint other.*made-audio.*--overwrite"):
        check_source(model_config, source)
    source.fingerprints["audio"], source.dims["audio"] = "made-audio", 99
    with pytest.raises(InputError, match=r"size 99.*size 3"):
        check_source(model_config, source)
