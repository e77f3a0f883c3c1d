"""How pretrained extractors run."""

import pytest

from features.extractors.spec import RunConfig


def test_merging_may_be_a_count_a_share_or_falling():
    for merge in (None, "0", "8", "0.1", "13:falling"):
        assert RunConfig(merge=merge).merge == merge


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"batch_size": 0}, "batch-size must be at least 1, got 0"), ({"merge": "lots"}, "merge 'lots' is neither")],
)
def test_nonsense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RunConfig(**settings)
