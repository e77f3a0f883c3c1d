"""Work in isolated processes: whatever happens costs one task, and no worker outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from features.files import limited
from features.job.isolated import Failed, run_isolated

ROOT, BESIDE = Path(__file__).parents[3], Path(__file__).parents[1]
HANGING = """
import sys
from pool_work import work
from features.job import run_isolated
if __name__ == "__main__":
    for _, message in run_isolated(work, [("pid-and-hang", 1), ("pid-and-hang", 2)], workers=2):
        print(message, flush=True)
"""


def test_whatever_one_task_does_the_others_are_done(pool_work):
    bad = {
        ("segfault",): ["the decoder crashed"],
        ("hang",): ["before", "not done after 2 s"],
        ("memory",): ["before", "it needs more than 3 GB of memory"],
        ("bug",): ["RuntimeError: not caught by the work"],
    }
    good = {("say", number, "a"): [number, "a"] for number in range(3)}
    made = {}
    for task, message in run_isolated(pool_work.work, [*bad, *good], workers=2, timeout=2.0):
        made.setdefault(task, []).append(message)
    assert all(isinstance(made[task][-1], Failed) for task in bad)
    assert {task: [*made[task][:-1], made[task][-1].reason] for task in bad} == bad
    assert {task: made[task] for task in good} == good


def test_a_bomb_needs_more_than_its_worker_may_take_and_without_tasks_nothing_is_started(pool_work, monkeypatch):
    ((_, failed),) = run_isolated(pool_work.work, [("allocate", 3 << 30)], memory=2.0)
    assert failed == Failed("it needs more than 2 GB of memory")
    monkeypatch.setattr("features.job.pool._Worker", None)
    assert list(run_isolated(pool_work.work, [])) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is one of Linux")
def test_a_worker_does_not_take_over_what_its_parent_may_take_while_it_reads_a_file(pool_work, tmp_path):
    (path := tmp_path / "small").write_text("x")
    with limited(path):  # 512 MB more than this process has
        made = list(run_isolated(pool_work.work, [("allocate", 1 << 30)]))
    assert not isinstance(made[-1][1], Failed)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent_whatever_ends_it(tmp_path, end):
    (tmp_path / "hanging.py").write_text(HANGING)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{BESIDE}"}
    command, pipe = [sys.executable, tmp_path / "hanging.py"], subprocess.PIPE
    parent = subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe)
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    assert all(Path("/proc", str(pid)).exists() for pid in workers)
    parent.send_signal(end)
    parent.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker lives on"
        time.sleep(0.05)


def alive(pid):
    """Whether it runs; one that nobody has waited for yet has ended."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
