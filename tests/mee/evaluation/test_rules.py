"""What a result says of its rules and of its question."""

import hashlib

import pandas as pd
import pytest

from mee.evaluation.measure import protocol_facts, rules_of
from mee.evaluation.result import Normalisation
from mee.protocols.protocol import Benchmark
from mee.protocols.table import PROTOCOLS
from mee.ranking.rank import CONVENTIONS

LSMDC = PROTOCOLS["lsmdc"]


def benchmark(name="lsmdc", **fields):
    table = pd.DataFrame(columns=["query_id", "video_id", "caption", "split"])
    return Benchmark(protocol=PROTOCOLS[name], table=table, gallery=(), **{"train_list": None, **fields})


@pytest.mark.parametrize("v2t", CONVENTIONS)
def test_rules_are_said_in_words(v2t):
    rules = rules_of(v2t, Normalisation(method="dsl"), 1000)
    assert rules.ties == "expected rank"
    assert rules.v2t == CONVENTIONS[v2t]
    assert rules.normalisation.method == "dsl"
    assert rules.intervals == "95 % bootstrap over queries, 1,000 resamples, seed 0"
    assert (
        rules_of(v2t, Normalisation(), 20, seed=7).intervals == "95 % bootstrap over queries, 20 resamples, seed 7"
    )
    assert rules_of(v2t, Normalisation(), 0).intervals == ""


def test_a_whole_protocol_is_stated_with_its_counts(tmp_path):
    file = tmp_path / "test.csv"
    file.write_text("captions")
    facts = protocol_facts(
        benchmark(files={"test": file}),
        split="test",
        queries=1000,
        gallery=1000,
        without_stream=("v3",),
        streams={"audio": 990},
        train_list="9k",
    )
    assert (facts.name, facts.title, facts.query_rule) == ("lsmdc", LSMDC.title, "every caption")
    assert (facts.split, facts.train_list) == ("test", "9k")
    assert (facts.queries, facts.expected_queries) == (1000, 1000)
    assert (facts.gallery, facts.expected_gallery) == (1000, 1000)
    assert (facts.partial, facts.missing, facts.left_out) == (False, (), ())
    assert facts.without_stream == ("v3",)
    assert facts.streams == {"audio": 990}
    assert facts.files == {"test": f"test.csv sha256:{hashlib.sha256(b'captions').hexdigest()}"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"shortfalls": ("a list is short",)}, {}),
        ({}, {"missing": ("3 queries have no scores",)}),
        ({}, {"left_out": ["v1"]}),
    ],
)
def test_whatever_is_missing_makes_a_result_partial(fields, said):
    facts = protocol_facts(benchmark(**fields), split="test", queries=997, gallery=1000, **said)
    assert facts.partial
    assert facts.missing == (*fields.get("shortfalls", ()), *said.get("missing", ()))
    assert facts.left_out == tuple(said.get("left_out", ()))


def test_counts_that_nobody_explained_make_it_partial_too():
    facts = protocol_facts(benchmark(), split="test", queries=997, gallery=1001)
    assert facts.partial
    assert facts.missing == ("997 queries, and lsmdc has 1,000", "1,001 clips, and lsmdc has 1,000")


def test_a_protocol_without_counts_takes_any():
    facts = protocol_facts(benchmark("folder"), split="test", queries=3, gallery=2)
    assert not facts.partial
    assert (facts.expected_queries, facts.expected_gallery, facts.streams, facts.files) == (None, None, {}, {})


def test_another_split_is_not_measured_by_the_counts_of_the_test():
    short = benchmark(shortfalls=("the test list is short",))
    facts = protocol_facts(short, split="val", queries=7408, gallery=7408)
    assert (facts.partial, facts.missing) == (False, ())
    assert (facts.expected_queries, facts.expected_gallery) == (None, None)
    assert protocol_facts(short, split="val", queries=1, gallery=1, left_out=["v1"]).partial
