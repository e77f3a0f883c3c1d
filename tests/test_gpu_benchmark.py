"""benchmarks/gpu.py runs from end to end without a GPU, so that the first minutes on one are not lost."""

import pytest

from benchmarks import gpu, timing


@pytest.mark.slow
def test_every_part_runs_on_a_cpu(monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert gpu.main(["--quick", "--device", "cpu"]) == 0, capsys.readouterr().out
    said = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if line.startswith("|")]
    assert {row[0] for row in rows[2:]} == set(gpu.RUN)
    assert "processor: " in said


@pytest.mark.slow
def test_a_part_that_takes_too_long_or_fails_stops_no_other(monkeypatch, capsys):
    monkeypatch.setitem(gpu.SECONDS, "tests", 0.1)
    assert gpu.main(["--quick", "--device", "cuda", "--parts", "tests", "limits"]) == 1
    said = capsys.readouterr().out
    assert "tests: stopped after 0.1 s" in said
    assert "limits: " in said  # torch's own error, where there is no GPU


@pytest.mark.slow
def test_libraries_can_be_limited_to_avx2(monkeypatch):
    for name, value in timing.LIMITS["avx2"].items():
        monkeypatch.setenv(name, value)
    timing.instruction_sets.cache_clear()
    used = timing.instruction_sets()
    timing.instruction_sets.cache_clear()
    assert not [library for library, name in used.items() if "512" in name.replace("-", "")]
    assert timing.processor_kind().startswith("AVX2 (emulated")
