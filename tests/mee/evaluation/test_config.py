"""Which normalisation is used, on what, and what a result says of it."""

from math import nan

import pytest
import torch

from mee.errors import InputError
from mee.evaluation.config import NormaliseConfig
from mee.evaluation.result import Normalisation
from mee.ranking.normalise import nnn, qb_norm
from tests.mee.whole_scores import WholeScores

PAIRS = torch.cartesian_prod(torch.arange(3), torch.arange(4)).T


@pytest.fixture
def scores():
    return WholeScores(torch.rand(3, 4, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def bank():
    return WholeScores(torch.rand(9, 4, generator=torch.Generator().manual_seed(1)))


def normalised(config, scores, bank):
    return config.apply(scores, config.offsets(bank)).pairs(*PAIRS).view(3, 4)


def test_none_changes_nothing_and_asks_for_nothing(scores):
    config = NormaliseConfig()
    assert config.offsets(None) is None
    assert config.apply(scores, None) is scores
    assert not config.needs_bank
    assert config.facts("9 training captions", 9) == Normalisation()


def test_qb_norm_uses_its_temperature_and_says_so(scores, bank):
    config = NormaliseConfig(method="qb-norm", beta=3.0)
    found, expected = config.offsets(bank), qb_norm(bank, 3.0)
    assert found.offset.equal(expected.offset)
    assert found.active.equal(expected.active)
    changes = expected.active[scores.matrix.argmax(1)]
    assert normalised(config, scores, bank).equal(scores.matrix - changes[:, None] * expected.offset)
    assert config.needs_bank
    assert config.facts("9 training captions", 9) == Normalisation(
        method="qb-norm", bank="9 training captions", parameters={"beta": 3}, uses_test_queries=False
    )


@pytest.mark.parametrize(("neighbours", "used"), [(2, 2), (128, 9)])
def test_nnn_uses_its_neighbours_and_says_how_many_there_were(scores, bank, neighbours, used):
    config = NormaliseConfig(method="nnn", neighbours=neighbours, alpha=0.5)
    offset = 0.5 * bank.matrix.sort(0, descending=True).values[:used].mean(0)
    torch.testing.assert_close(config.offsets(bank).offset, offset)
    assert config.offsets(bank).offset.equal(nnn(bank, used, 0.5).offset)
    torch.testing.assert_close(normalised(config, scores, bank), scores.matrix - offset)
    assert config.facts("9 training captions", 9) == Normalisation(
        method="nnn", bank="9 training captions", parameters={"neighbours": used, "alpha": 0.5}
    )


def test_dsl_looks_at_all_test_queries_and_says_so(scores):
    config = NormaliseConfig(method="dsl", beta=4.0)
    assert not config.needs_bank
    expected = scores.matrix * (4 * scores.matrix).softmax(0)
    torch.testing.assert_close(normalised(config, scores, None), expected)
    assert config.facts("9 training captions", 9) == Normalisation(
        method="dsl", parameters={"beta": 4}, uses_test_queries=True
    )


@pytest.mark.parametrize("method", ["qb-norm", "nnn"])
@pytest.mark.parametrize("bank", [None, WholeScores(torch.empty(0, 4))])
def test_a_bank_that_is_not_there_is_asked_for(method, bank):
    with pytest.raises(InputError, match=f"^{method} needs a bank of training captions.*--bank"):
        NormaliseConfig(method=method).offsets(bank)


@pytest.mark.parametrize(
    "settings",
    [{"method": "qbnorm"}, {"beta": 0.0}, {"beta": nan}, {"neighbours": 0}, {"alpha": -0.1}, {"alpha": nan}],
)
def test_nonsense_is_refused(settings):
    ((name, value),) = settings.items()
    with pytest.raises(ValueError, match=f"^{name} must be .*, got {value!r}$"):
        NormaliseConfig(**settings)
