"""The text of the metrics, read by the grammar of the Prometheus exposition format."""

import re

import pytest

from scripts.serve import metrics as metrics_module
from scripts.serve.metrics import METRICS, SECONDS, Metrics

NAME, VALUE = r"[a-zA-Z_:][a-zA-Z0-9_:]*", r"[-+]?(?:[0-9]+(?:\.[0-9]*)?(?:e[-+]?[0-9]+)?|Inf)|NaN"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? ({VALUE})")
ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


def samples(text):
    """{(name, labels): value}; every line is one of the format, and described before."""
    assert text.endswith("\n")
    found, described = {}, {}
    for line in text.splitlines():
        if line.startswith("# "):
            kind, name, rest = re.fullmatch(rf"# (HELP|TYPE) ({NAME}) (.+)", line).groups()
            assert (name, kind) not in described
            described[name, kind] = rest
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        labels = {
            name: re.sub(r"\\.", lambda it: ESCAPED[it[0]], value)
            for name, value in re.findall(LABEL, match[2] or "")
        }
        family = re.sub("_(bucket|sum|count)$", "", match[1])
        family = family if described.get((family, "TYPE")) == "histogram" else match[1]
        assert {(family, "HELP"), (family, "TYPE")} <= described.keys(), f"{line} comes before its description"
        key = match[1], tuple(sorted(labels.items()))
        assert key not in found
        found[key] = float(match[match.re.groups])
    return found


def test_counters_count_by_label_and_any_label_can_be_read_back():
    metrics, odd = Metrics(), 'a "b"\\\n{c="d"},e'
    for kind in ("input", odd, odd):
        metrics.count("mee_errors_total", kind=kind)
    metrics.count("mee_conversions_total", outcome="done", kind="moment")
    found = samples(metrics.text())
    assert found["mee_errors_total", (("kind", "input"),)] == 1
    assert found["mee_errors_total", (("kind", odd),)] == 2
    assert found["mee_conversions_total", (("kind", "moment"), ("outcome", "done"))] == 1


def test_a_histogram_counts_what_is_at_most_each_bound():
    metrics = Metrics()
    for value in (0.0, SECONDS[0], SECONDS[0] + 1e-9, 11.0):
        metrics.observe("mee_search_seconds", value)
    found = samples(metrics.text())
    buckets = {dict(labels)["le"]: n for (name, labels), n in found.items() if name == "mee_search_seconds_bucket"}
    assert [*map(float, buckets)] == [*SECONDS, float("inf")]
    assert [*buckets.values()] == [2] + [3] * (len(SECONDS) - 1) + [4]
    assert found["mee_search_seconds_count", ()] == 4
    assert found["mee_search_seconds_sum", ()] == pytest.approx(11 + 2 * SECONDS[0])


def test_gauges_are_read_when_asked_and_what_is_unknown_is_left_out(monkeypatch):
    metrics, depth = Metrics(), [3]
    metrics.gauge("mee_queue_depth", lambda: depth[0])
    metrics.gauge("mee_index_clips", lambda: None)
    depth[0] = 4
    found = samples(metrics.text())
    assert found["mee_queue_depth", ()] == 4
    assert ("mee_index_clips", ()) not in found
    assert found["process_cpu_seconds_total", ()] > 0
    monkeypatch.setattr(metrics_module, "Path", lambda path: (_ for _ in ()).throw(OSError))
    assert metrics_module._resident() is None


def test_a_metric_that_nobody_declared_is_no_metric():
    with pytest.raises(KeyError, match="mee_typo"):
        Metrics().count("mee_typo")
    assert all(re.fullmatch(NAME, name) for name in METRICS)
