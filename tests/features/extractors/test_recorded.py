"""From fingerprints back to extractors; what is pretrained is in tests/scripts/example."""

import json
from dataclasses import asdict

import pytest

from features.errors import InputError
from features.extractors import RunConfig, known_extractors, make_extractor, recorded_extractor


@pytest.mark.parametrize("stream", known_extractors())
def test_every_extractor_of_ours_is_found_again(stream):
    try:
        made_by = make_extractor(stream).fingerprint
    except InputError as error:
        pytest.skip(str(error))  # its package is not installed
    fingerprint = json.loads(json.dumps(asdict(made_by)))
    spec, made = recorded_extractor(stream, fingerprint, made_by.digest, (), RunConfig())
    assert spec.stream == stream
    assert made.fingerprint == made_by
