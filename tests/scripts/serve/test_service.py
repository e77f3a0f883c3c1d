"""The service: everyone gets his own answer, of the index as it is, whoever else asks, fails, leaves or writes."""

import asyncio
import shutil
import threading
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index import IndexWriter, Request, Searcher
from mee.errors import InputError
from scripts.serve import service as service_module
from scripts.serve.asked import TOP
from scripts.serve.service import Busy, Gone, Service

SOME = ("a dog", "rain falls", "the drums", "a blue square")


@asynccontextmanager
async def held(service):
    """A service whose thread waits until this ends; what is asked meanwhile is asked together."""
    go = threading.Event()
    waiting = asyncio.create_task(service.run(lambda _: go.wait()))
    await asyncio.sleep(0.01)
    try:
        yield
    finally:
        go.set()
        await asyncio.gather(waiting, return_exceptions=True)


async def together(service, *requests, size=10):
    """The outcomes of requests that are asked while a turn runs."""
    async with held(service):
        tasks = [asyncio.create_task(service.search(request, size=size)) for request in requests]
        await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


def recorded(searcher, monkeypatch):
    """The batches that it is asked for from now on."""
    batches, search = [], searcher.search
    monkeypatch.setattr(searcher, "search", lambda requests: batches.append(list(requests)) or search(requests))
    return batches


def serving(searcher, use, **how):
    """The result of what is done with a service."""

    async def run():
        async with Service(searcher, **how) as service:
            return await use(service)

    return asyncio.run(run())


def asked(sentence="a dog", **fields):
    return Request(sentence=sentence, **fields)


def ids(found):
    return [hit.clip_id for hit in found]


def test_what_is_asked_while_a_search_runs_is_searched_together_and_equal_requests_once(searcher, monkeypatch):
    requests = [asked(), asked(where="number > 4"), asked(), asked(weights={"audio": 1.0}), asked(top=3)]
    alone = [searcher.search([request])[0] for request in requests]
    batches = recorded(searcher, monkeypatch)
    pages = serving(searcher, lambda service: together(service, *requests))
    assert batches[0] == [requests[n] for n in (0, 1, 3, 4)]
    assert len(batches) == 1
    assert [page.found for page in pages] == alone
    assert [page.request for page in pages] == requests
    monkeypatch.setattr(service_module, "BATCH", 4)  # sentences
    two_each = [asked(f"dog {n}", also=((1.0, f"cat {n}"),)) for n in range(5)]
    serving(searcher, lambda service: together(service, *two_each))
    assert [len(batch) for batch in batches[1:]] == [2, 2, 1]


def test_a_request_that_cannot_be_answered_is_refused_alone(searcher, monkeypatch):
    good = [asked(sentence) for sentence in SOME]
    bad = [asked(like="nobody"), asked(only=("smell",)), asked(where="nothing > 3")]
    broken, search = asked("broken"), searcher.search

    def fragile(requests):
        if broken in requests:
            raise RuntimeError("a fault")
        return search(requests)

    alone = [search([request])[0] for request in good]
    monkeypatch.setattr(searcher, "search", fragile)
    order = [good[0], bad[0], good[1], broken, bad[1], good[2], bad[2], good[3]]
    outcomes = dict(zip(map(id, order), serving(searcher, lambda service: together(service, *order))))
    assert [outcomes[id(request)].found for request in good] == alone
    for request, word in zip(bad, ("nobody", "smell", "nothing")):
        assert isinstance(outcomes[id(request)], InputError)
        assert word in str(outcomes[id(request)])
    assert isinstance(outcomes[id(broken)], RuntimeError)


# sentence, or "": a clip that is not there; ms before he asks; half ms until he leaves; top
CALLER = st.tuples(
    st.sampled_from([*SOME, ""]), st.integers(0, 3), st.none() | st.integers(0, 3), st.integers(1, 9)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(callers=st.lists(CALLER, min_size=1, max_size=30))
def test_in_any_company_everyone_gets_what_he_asked_for(searcher, callers):
    def request_of(sentence, top):
        return asked(sentence, top=top) if sentence else Request(like="nobody", top=top)

    async def call(service, sentence, before, patience, top):
        await asyncio.sleep(before / 1000)
        task = asyncio.create_task(service.search(request_of(sentence, top), size=top))
        if patience is not None:
            await asyncio.sleep(patience / 2000)
            task.cancel()
        return (await asyncio.gather(task, return_exceptions=True))[0]

    async def use(service):
        outcomes = await asyncio.gather(*(call(service, *caller) for caller in callers))
        assert await service.run(lambda its: its is searcher)
        assert not service._queue
        return outcomes

    for (sentence, _, patience, top), outcome in zip(callers, serving(searcher, use)):
        if isinstance(outcome, asyncio.CancelledError):
            assert patience is not None
        elif sentence:
            assert outcome.found == searcher.search([request_of(sentence, top)])[0]
        else:
            assert isinstance(outcome, InputError)
            assert "nobody" in str(outcome)


def test_who_has_gone_is_not_searched_for(searcher, monkeypatch):
    batches = recorded(searcher, monkeypatch)

    async def use(service):
        async with held(service):
            tasks = [asyncio.create_task(service.search(asked(sentence), size=5)) for sentence in SOME]
            await asyncio.sleep(0)
            for task in tasks[1:3]:
                task.cancel()
            await asyncio.sleep(0)
            assert len(service._queue) == 2
        return await asyncio.gather(*tasks, return_exceptions=True), service.metrics.text()

    outcomes, metrics = serving(searcher, use)
    assert [type(outcome).__name__ for outcome in outcomes] == ["Page", "CancelledError", "CancelledError", "Page"]
    assert batches == [[asked(SOME[0]), asked(SOME[3])]]
    assert 'mee_errors_total{kind="cancelled"} 2' in metrics
    assert "mee_searches_total 2" in metrics


def test_a_full_queue_says_when_to_come_back_and_recovers(searcher, monkeypatch):
    monkeypatch.setattr(service_module, "QUEUE", 3)

    async def use(service):
        outcomes = await together(service, *map(asked, [*SOME, "more"]))
        assert all(isinstance(each, Busy) and each.retry_s > 0 for each in outcomes[3:])
        assert all(page.count == 10 for page in outcomes[:3])
        async with held(service):
            waiting = [asyncio.create_task(service.run(len)) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(Busy):
                await service.run(len)
            for task in waiting:
                task.cancel()
        return await service.search(asked(), size=1)

    assert serving(searcher, use).count == 10


@pytest.mark.parametrize(
    ("fields", "size", "word"),
    [
        ({"top": TOP + 1}, 10, "257"),
        ({}, 0, "size"),
        ({}, TOP + 1, "size"),
        ({"by_video": True, "top": 100, "moments": 11}, 10, "moments"),
        ({"also": ((1.0, "a cat"),) * 16}, 10, "sentences"),
    ],
)
def test_what_is_too_large_is_refused(searcher, fields, size, word):
    with pytest.raises(InputError, match=word):
        serving(searcher, lambda service: service.search(asked(**fields), size=size))


def test_who_waits_when_it_stops_is_told_so_and_the_thread_ends(searcher):
    async def run():
        async with Service(searcher) as service:
            go = threading.Event()
            tasks = [asyncio.create_task(service.run(lambda _: go.wait()))]
            await asyncio.sleep(0.01)
            tasks += [asyncio.create_task(service.search(asked(sentence), size=5)) for sentence in SOME]
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.01, go.set)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Busy] * 5
        assert not any(thread.name.startswith("search") for thread in threading.enumerate())
        with pytest.raises(Busy, match="stops"):
            await service.search(asked(), size=5)
        assert (service.health()["ok"], service.health()["why"]) == (False, service_module.STOPS)

    asyncio.run(run())


def test_work_between_batches_returns_or_raises_and_the_next_goes_on(searcher, monkeypatch):
    async def use(service):
        with pytest.raises(ZeroDivisionError):
            await service.run(lambda _: 1 / 0)
        assert await service.run(lambda its: its.modalities) == searcher.modalities
        monkeypatch.setattr(service_module, "_same", lambda request: 1 / 0)  # a fault of ours
        with pytest.raises(ZeroDivisionError):
            await service.search(asked(), size=5)
        monkeypatch.undo()
        return await service.search(asked(), size=5)

    assert serving(searcher, use).count == 10


# ---- an index that changes


def test_a_search_after_a_change_sees_it_and_a_kept_answer_stays(searcher, directory):
    async def use(service):
        first = await service.search(asked(top=12), size=5)
        gone = [*ids(first.found), ids((await service.page(first.next)).found)[0]]
        with IndexWriter.open(directory) as writer:
            writer.remove(gone)
        after = await service.search(asked(top=12), size=12)
        assert after.count == first.count - 6
        assert not set(gone) & set(ids(after.found))
        assert ids((await service.page(first.next)).found)[0] == gone[-1]
        assert (await service.page(first.next)).before == first.next.replace(".1", ".0")
        assert await service.run(lambda its: len(its.video_index)) == after.count
        assert service.health() == {"ok": True, "generation": 3, "clips": after.count, "why": ""}

    serving(searcher, use)


def put_in_place(other, directory):
    """As `mee index --overwrite` would."""
    aside = directory.with_name("aside")
    shutil.copytree(other, aside)
    shutil.rmtree(directory)
    aside.rename(directory)


def damage(_, directory):
    (directory / "index.json").write_text("{}")


@pytest.mark.parametrize("change", [put_in_place, damage, lambda _, directory: shutil.rmtree(directory)])
def test_an_index_that_cannot_be_read_again_is_searched_as_it_was_and_says_so(
    change, searcher, directory, two, monkeypatch, tmp_path
):
    monkeypatch.setattr(service_module, "AGAIN_S", 0.0)
    shutil.copytree(directory, tmp_path / "kept")

    async def use(service):
        first = await service.search(asked(top=12), size=12)
        assert not first.notes
        assert not service.health()["why"]
        change(two[1], directory)
        for sentence in ("a dog", "rain falls"):
            page = await service.search(asked(sentence, top=12), size=12)
            assert page.found == [*alone[sentence]]
            assert any("as it was before" in note for note in page.notes)
        health = service.health()
        assert (health["ok"], bool(health["why"]), health["generation"]) == (True, True, 2)
        assert "mee_index_stale 1" in service.metrics.text()
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", directory)
        page = await service.search(asked(top=12), size=12)
        assert (page.found, page.notes, service.health()["why"]) == (first.found, [], "")

    alone = {s: searcher.search([asked(s, top=12)])[0] for s in ("a dog", "rain falls")}
    serving(searcher, use)


def test_another_model_in_its_place_is_opened_where_that_is_offered(searcher, directory, two):
    wanted = Searcher.load(two[1]).search([asked(top=12)])[0]

    async def use(service):
        before = await service.search(asked(top=12), size=3)
        put_in_place(two[1], directory)
        while (page := await service.search(asked(top=12), size=12)).found != wanted:
            await asyncio.sleep(0.01)
        assert not page.notes
        assert not service.health()["why"]
        assert {clip[0] for clip in ids((await service.page(before.next)).found)} == {"v"}

    serving(searcher, use, reload=lambda: Searcher.load(directory))


def test_after_a_failure_the_index_is_not_read_for_a_while(searcher, directory, monkeypatch):
    tries = []
    monkeypatch.setattr(searcher, "refresh", lambda: tries.append(1) or damage(None, directory) or 1 / 0)

    async def use(service):
        for _ in range(5):
            await service.search(asked(), size=3)
        return service.health()

    assert "division" in serving(searcher, use)["why"]
    assert len(tries) == 1


# ---- pages


@pytest.mark.parametrize("by_video", [False, True])
def test_pages_are_parts_of_one_list(searcher, by_video, monkeypatch):
    request = asked(top=7, by_video=by_video)
    whole = searcher.search([request])[0]
    batches = recorded(searcher, monkeypatch)

    async def use(service):
        pages = [await service.search(request, size=3)]
        while pages[-1].next:
            pages.append(await service.page(pages[-1].next))
        assert [page.first for page in pages] == [1, 4, 7]
        assert [hit for page in pages for hit in page.found] == whole
        assert {page.count for page in pages} == {7}
        assert len(batches) == 1
        back = await service.page(pages[2].before)
        assert back == pages[1]
        assert (await service.page(back.before)) == pages[0]

    serving(searcher, use)


def test_a_token_that_is_not_known_is_gone(searcher, monkeypatch):
    monkeypatch.setattr(service_module, "KEPT", 2)

    async def use(service):
        first = await service.search(asked(top=10), size=4)
        key = first.next.partition(".")[0]
        wrong = [
            "",
            ".",
            key,
            f"{key}.",
            f"{key}.3",
            f"{key}.-1",
            f"{key}.\u0661",
            f"{key}.1 ",
            f"{key}.{'9' * 5000}",
        ]
        for token in [*wrong, "x" * 16 + ".1", f" {key}.1", f"{key}.1\n", f"{key}.1.1"]:
            with pytest.raises(Gone):
                await service.page(token)
        second = await service.search(asked("rain", top=10), size=4)
        assert await service.page(f"{key}.0") == first  # used last
        await service.search(asked("drums", top=10), size=4)
        assert await service.page(f"{key}.0") == first
        with pytest.raises(Gone):
            await service.page(second.next)
        empty = await service.search(asked(where="number > 99"), size=4)
        key = next(reversed(service._kept))
        assert (await service.page(f"{key}.0")) == empty
        assert empty.count == 0
        assert not empty.next

    serving(searcher, use)


def test_answers_that_are_kept_have_bounded_bytes(searcher, monkeypatch):
    monkeypatch.setattr(service_module, "KEPT_BYTES", 40_000)

    async def use(service):
        for number in range(30):
            await service.search(asked(f"dog {number}", top=1 + number % 12), size=4)
            assert service._bytes <= 40_000
        assert 1 < len(service._kept) < 30

    serving(searcher, use)


def test_notes_are_of_this_request_alone(searcher):
    async def use(service):
        strange, known = await together(service, asked("xylophone"), asked("a dog"))
        assert len(strange.notes) == 1
        assert "'xylophone'" in strange.notes[0]
        assert "note:" not in strange.notes[0]
        assert known.notes == []
        again = await service.search(asked("a dog barks"), size=3)
        assert ["'barks'" in note for note in again.notes] == [True]
        few = await service.search(asked("a dog", offset=99), size=3)
        assert few.notes == [f"the offset 99 passes over all there is, {len(searcher.video_index)} hits"]
        nothing = await service.search(asked(where="number > 99"), size=3)
        assert "no clip" in nothing.notes[0]
        assert "2" in (await service.search(asked(min_score=2.0), size=3)).notes[0]

    serving(searcher, use)
