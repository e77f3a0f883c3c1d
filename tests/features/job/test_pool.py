"""The pool: every task is told of or lost, whatever happens to a worker. Workers are real processes."""

import os
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

import features.job.pool
from features.errors import InputError
from features.job.pool import Idle, Lost, Received, WorkerPool

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def work(monkeypatch):
    """The module tests/features/pool_work.py, in workers too."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    import pool_work

    return pool_work


@pytest.fixture
def run(work):
    """run(tasks) -> messages by task, and losses by task, as (how, exit code)."""

    def call(*tasks, workers=2, timeout=60.0, start=work.start, on_event=lambda event, pool: None):
        told, lost = defaultdict(list), {}
        with WorkerPool(start, workers, timeout) as pool:
            for task in tasks:
                pool.submit(task)
            for event in pool.events():
                on_event(event, pool)
                match event:
                    case Received(task, message):
                        assert task not in lost
                        told[task].append(message)
                    case Lost(task, how, code):
                        assert task not in lost
                        lost[task] = (how, code)
            processes = [worker.process for worker in pool._workers]
        assert pool._workers == []
        assert all(process._closed for process in processes)
        return dict(told), lost

    return call


def test_messages_come_in_order_whole_and_to_their_task(run):
    tasks = [("say", number, "a", "b") for number in range(20)] + [("large", 3)]
    told, lost = run(*tasks, workers=3)
    assert lost == {}
    assert told == {
        **{task: list(task[1:]) for task in tasks[:-1]},
        ("large", 3): [(n, bytes(4 << 20)) for n in range(3)],
    }


def test_no_task_no_worker(run, monkeypatch):
    monkeypatch.setattr(features.job.pool, "_Worker", None)
    assert run() == ({}, {})


def test_what_becomes_of_a_worker_is_the_loss_of_its_task_only(run):
    bad = [("exit",), ("segfault",), ("memory",), ("bug",)]
    good = [("say", number) for number in range(8)]
    told, lost = run(*(task for pair in zip(good, bad) for task in pair), *good[4:])
    assert lost == {
        ("exit",): ("crashed", 7),
        ("segfault",): ("crashed", -signal.SIGSEGV),
        ("memory",): ("out of memory", 0),
        ("bug",): ("crashed", 1),
    }
    assert {task: told[task] for task in good} == {task: [task[1]] for task in good}
    assert told[("exit",)] == told[("memory",)] == ["before"]  # what was said before the end is heard


def test_a_worker_that_hangs_is_killed(run):
    told, lost = run(("hang",), ("spin",), ("say", 1), ("say", 2), timeout=1.0)
    assert lost == {("hang",): ("timed out", 0), ("spin",): ("timed out", 0)}
    assert told == {("hang",): ["before"], ("say", 1): [1], ("say", 2): [2]}


def test_time_that_a_worker_waits_for_us_is_not_its_own(run):
    def slow(event, pool):
        if isinstance(event, Received):
            time.sleep(0.5)

    told, lost = run(("large", 3), ("large", 4), timeout=1.0, on_event=slow)  # 3.5 s in all
    assert lost == {}
    assert {task: len(messages) for task, messages in told.items()} == {("large", 3): 3, ("large", 4): 4}


def test_a_pipe_that_nobody_empties_makes_its_worker_wait(run, tmp_path):
    marks = tmp_path / "marks"
    seen = []

    def slow(event, pool):
        if isinstance(event, Received) and event.message == 0:
            time.sleep(1.5)  # time enough to make all ten, were nobody to hold it
            seen.append(marks.stat().st_size)

    told, _ = run(("count", 10, str(marks)), workers=1, on_event=slow)
    assert seen == [1]
    assert len(told[("count", 10, str(marks))]) == 20


@linux
def test_a_worker_killed_in_the_middle_of_a_message_spoils_nothing(run):
    def kill(event, pool):
        if isinstance(event, Received) and event.task[0] == "large-once" and isinstance(event.message, int):
            (worker,) = (worker for worker in pool._workers if worker.process.pid == event.message)
            while not worker.connection.poll():  # the first bytes of 64 MB are in the pipe: the others do not fit
                time.sleep(0.01)
            os.kill(event.message, signal.SIGKILL)

    good = [("say", number) for number in range(6)]
    told, lost = run(good[0], ("large-once",), *good[1:], on_event=kill)
    assert lost == {("large-once",): ("crashed", -signal.SIGKILL)}
    assert {task: told[task] for task in good} == {task: [task[1]] for task in good}


def test_a_task_can_be_put_back_while_events_run(run):
    def again(event, pool):
        if isinstance(event, Lost) and event.task == ("exit",):
            pool.submit(("say", "again"))

    told, lost = run(("exit",), ("say", 1), workers=1, on_event=again)
    assert list(lost) == [("exit",)]
    assert list(told) == [("exit",), ("say", 1), ("say", "again")]  # at the end


def test_workers_are_replaced_after_some_tasks(run, monkeypatch):
    monkeypatch.setattr(features.job.pool, "TASKS_A_WORKER", 2)
    told, lost = run(*(("pid", number) for number in range(5)), workers=1)
    pids = [message for messages in told.values() for message in messages]
    assert lost == {}
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 1]


def test_a_worker_that_is_worn_out_is_replaced(run):
    told, lost = run(*(("worn", number) for number in range(3)), workers=1)
    assert lost == {}
    assert len({message for (message,) in told.values()}) == 3


def test_idle_comes_while_nothing_is_heard(run, monkeypatch):
    monkeypatch.setattr(features.job.pool, "TICK_S", 0.1)
    idle = []
    run(("hang",), timeout=1.5, on_event=lambda event, _: idle.append(isinstance(event, Idle)))
    assert sum(idle) >= 5


def test_workers_have_one_thread_and_do_not_hear_stop_signals(run):
    before = {name: os.environ.get(name) for name in features.job.pool.VARIABLES}
    told, _ = run(("threads",), ("signals",))
    assert told[("threads",)] == [("1", "1")]
    assert {signal.SIGINT, signal.SIGTERM} <= set(told[("signals",)][0])
    assert {name: os.environ.get(name) for name in before} == before
    assert not {signal.SIGINT, signal.SIGTERM} & signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_what_a_decoder_prints_is_no_result(run, capfd):
    told, _ = run(("print",))
    assert told == {("print",): ["printed"]}
    assert capfd.readouterr() == ("", "a decoder says something\n")


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ("dies", r"the worker processes end before they read a file \(exit code 5\); give them more memory"),
        ("has_no_memory", r"the worker processes end before they read a file \(MemoryError\)"),
        ("refuses", "^give it at least --memory 2.0, not 0.1$"),
    ],
)
def test_workers_that_cannot_start_end_the_job_with_a_sentence(run, work, start, says):
    with pytest.raises(InputError, match=says):
        run(*(("hang", number) for number in range(9)), start=getattr(work, start))


def test_processes_that_the_system_refuses(run, monkeypatch):
    def refuse(setup):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(features.job.pool, "_Worker", refuse)
    with pytest.raises(InputError, match=r"no worker process can be started .*temporarily unavailable.*--workers"):
        run(("say", 1))


@linux
def test_whatever_ends_the_job_no_worker_lives_on(run, work):
    pids = []

    def stop(event, pool):
        if isinstance(event, Received):
            pids.extend(worker.process.pid for worker in pool._workers)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(("hang", 1), ("hang", 2), on_event=stop)
    assert len(pids) == 2
    assert not any(Path("/proc", str(pid)).exists() for pid in pids)


@linux
def test_a_worker_that_freezes_in_the_middle_of_a_message_is_lost(run, monkeypatch):
    monkeypatch.setattr(features.job.pool, "MESSAGE_S", 0.5)

    def freeze(event, pool):
        if isinstance(event, Received) and isinstance(event.message, int):
            (worker,) = (worker for worker in pool._workers if worker.process.pid == event.message)
            while not worker.connection.poll():  # the pipe holds the beginning of the message that follows
                time.sleep(0.01)
            os.kill(event.message, signal.SIGSTOP)

    told, lost = run(("large-once",), on_event=freeze)
    assert lost == {("large-once",): ("crashed", -signal.SIGKILL)}
    assert len(told[("large-once",)]) == 1
