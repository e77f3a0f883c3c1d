"""The table of extractors, ours and third parties'."""

import pytest

from features.errors import InputError
from features.extractor import Extractor
from features.registry import EXTRACTORS, known_extractors, make_extractor


@pytest.mark.parametrize("name", EXTRACTORS)
def test_ours_are_extractors_of_the_modality_they_are_called_by(name):
    extractor = make_extractor(name)
    assert isinstance(extractor, Extractor)
    assert extractor.modality == name
    assert extractor.dim > 0
    assert extractor.needs


def test_a_third_party_adds_one_and_cannot_replace_ours(odd_extractors):
    assert make_extractor("odd").dim == 3
    assert known_extractors()["appearance"] == EXTRACTORS["appearance"]


def test_fingerprints_differ_and_stay_the_same():
    digests = [make_extractor(name).fingerprint.digest for name in EXTRACTORS]
    assert len(set(digests)) == len(digests)
    assert [make_extractor(name).fingerprint.digest for name in EXTRACTORS] == digests


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smell", "no extractor is called 'smell'; there are .*appearance, motion, audio, face"),
        ("not_there", "'not_there' .* cannot be loaded"),
        ("no_extractor", "'no_extractor' .* is not an Extractor"),
    ],
)
def test_what_cannot_be_made_is_said_in_a_sentence(odd_extractors, name, message):
    with pytest.raises(InputError, match=message):
        make_extractor(name)
