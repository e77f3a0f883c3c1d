"""Which streams a model needs of a source."""

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


def test_streams_that_are_not_the_models_are_refused_and_a_source_may_have_more(source, model_config):
    check_source(replace(model_config, experts=model_config.experts[:2]), source)
    source.fingerprints["audio"] = "other"
    with pytest.raises(InputError, match=r"another extractor .*fingerprint other.*made-audio.*--overwrite"):
        check_source(model_config, source)
    source.fingerprints["audio"], source.dims["audio"] = "made-audio", 99
    with pytest.raises(InputError, match=r"size 99.*size 3"):
        check_source(model_config, source)
    del source.dims["audio"]
    with pytest.raises(InputError, match=r"store has no 'audio' stream.*--streams audio"):
        check_source(model_config, source)
