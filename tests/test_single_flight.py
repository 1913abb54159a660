"""One load for each missing key: cancelling, failing, several loops, threads, re-entry, fork."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading

import pytest

from holdall._driver import AsyncDriver, BlockingDriver, run
from holdall._single_flight import SingleFlight
from holdall.errors import HoldallError, ReentrantLoadError


class Load:
    """A loader that waits for a sign, and counts."""

    def __init__(self, result=7):
        self.calls = self.cancelled = 0
        self.result = result
        self.go = asyncio.Event()

    async def __call__(self):
        self.calls += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_concurrent_callers_cause_one_load():
    flights, load = SingleFlight(), Load()
    callers = [asyncio.create_task(flights.join("k", load)) for _ in range(100)]
    await settle()
    load.go.set()
    assert await asyncio.gather(*callers) == [7] * 100
    assert load.calls == 1
    assert len(flights) == 0


async def test_another_key_is_another_load():
    flights, load = SingleFlight(), Load()
    load.go.set()
    await asyncio.gather(flights.join("a", load), flights.join("b", load))
    assert load.calls == 2


@pytest.mark.parametrize("victim", [0, 1])
async def test_cancelling_one_caller_leaves_the_others(victim):
    flights, load = SingleFlight(), Load()
    callers = [asyncio.create_task(flights.join("k", load)) for _ in range(3)]
    await settle()
    callers[victim].cancel()
    await settle()
    assert callers[victim].cancelled()
    load.go.set()
    callers.pop(victim)
    assert await asyncio.gather(*callers) == [7, 7]
    assert (load.calls, load.cancelled) == (1, 0)


async def test_the_load_is_cancelled_when_nobody_waits_and_the_next_starts_anew():
    flights, load = SingleFlight(), Load()
    callers = [asyncio.create_task(flights.join("k", load)) for _ in range(3)]
    await settle()
    for caller in callers:
        caller.cancel()
    again = asyncio.create_task(flights.join("k", load))
    await settle()
    assert (load.calls, load.cancelled) == (2, 1) or (load.calls, load.cancelled) == (1, 0)
    load.go.set()
    assert await again == 7
    assert len(flights) == 0


async def test_the_last_of_all_cancels_the_load():
    flights, load = SingleFlight(), Load()
    caller = asyncio.create_task(flights.join("k", load))
    await settle()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(caller, 0.001)
    await settle()
    assert load.cancelled == 1
    assert len(flights) == 0


async def test_a_failure_reaches_all_who_wait_and_is_not_kept():
    flights, load = SingleFlight(), Load(OSError("no"))
    callers = [asyncio.create_task(flights.join("k", load)) for _ in range(3)]
    await settle()
    load.go.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(one) for one in results] == [OSError] * 3
    load.result = 8
    assert await flights.join("k", load) == 8
    assert load.calls == 2


async def test_a_loader_that_waits_for_itself_gets_an_error():
    flights = SingleFlight()

    async def load():
        return await flights.join("k", load)

    with pytest.raises(ReentrantLoadError, match="without asking") as caught:
        await flights.join("k", load)
    assert isinstance(caught.value, HoldallError)
    assert len(flights) == 0


async def test_two_loaders_that_wait_for_each_other_do_not_hang():
    flights = SingleFlight()
    both = asyncio.Event()

    def loader(other, mine):
        async def load():
            if len(flights) == 2:
                both.set()
            await both.wait()
            return await flights.join(other, mine)

        return load

    async def nothing():
        return 1

    results = await asyncio.gather(
        flights.join("a", loader("b", nothing)),
        flights.join("b", loader("a", nothing)),
        return_exceptions=True,
    )
    assert any(isinstance(one, ReentrantLoadError) for one in results)


async def test_what_a_loader_left_running_may_ask_for_the_key_later():
    flights = SingleFlight()
    later = []

    async def background():
        await settle()
        return await flights.join("k", second)

    async def second():
        return 2

    async def load():
        later.append(asyncio.create_task(background()))
        return 1

    assert await flights.join("k", load) == 1
    assert await later[0] == 2


def test_callers_on_several_loops_share_one_load():
    flights = SingleFlight()
    calls, results = [], []
    begun, go, joined = threading.Event(), threading.Event(), threading.Barrier(4)

    async def load():
        calls.append(1)
        begun.set()
        await asyncio.get_running_loop().run_in_executor(None, go.wait)
        return 7

    async def main(first):
        if not first:
            begun.wait()
        caller = asyncio.create_task(flights.join("k", load))
        await settle()
        if not first:
            joined.wait()
        results.append(await caller)

    threads = [threading.Thread(target=asyncio.run, args=(main(n == 0),)) for n in range(4)]
    for thread in threads:
        thread.start()
    joined.wait()
    go.set()
    for thread in threads:
        thread.join()
    assert results == [7] * 4
    assert len(calls) == 1


def test_when_the_loading_loop_ends_another_takes_over():
    flights = SingleFlight()
    begun, waiting = threading.Event(), threading.Event()
    results = []

    async def never():
        begun.set()
        await asyncio.Event().wait()

    async def doomed():
        task = asyncio.create_task(flights.join("k", never))
        await asyncio.get_running_loop().run_in_executor(None, waiting.wait)
        del task

    async def heir():
        async def load():
            return 8

        caller = asyncio.create_task(flights.join("k", load))
        await settle()
        waiting.set()
        results.append(await caller)

    def second():
        begun.wait()
        asyncio.run(heir())

    thread = threading.Thread(target=second)
    thread.start()
    asyncio.run(doomed())
    thread.join()
    assert results == [8]


def test_threads_without_a_loop_share_one_load():
    flights = SingleFlight()
    calls, results = [], []
    go = threading.Event()

    def load():
        calls.append(1)
        go.wait()
        return 7

    def ask():
        results.append(flights.join_blocking("k", load))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    while not (flights._flights and flights._flights["k"].waiters == 8):
        threading.Event().wait(0.001)
    go.set()
    for thread in threads:
        thread.join()
    assert results == [7] * 8
    assert len(calls) == 1


def test_a_blocking_loader_that_waits_for_itself_gets_an_error():
    flights = SingleFlight()
    with pytest.raises(ReentrantLoadError):
        flights.join_blocking("k", lambda: flights.join_blocking("k", lambda: 1))
    assert flights.join_blocking("k", lambda: 1) == 1


def _child(flights, queue):
    queue.put((len(flights), flights.join_blocking("k", lambda: 9)))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_after_fork_the_table_is_empty():
    flights = SingleFlight()
    begun, go = threading.Event(), threading.Event()

    def load():
        begun.set()
        return go.wait()

    thread = threading.Thread(target=flights.join_blocking, args=("k", load))
    thread.start()
    begun.wait()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    with flights._lock:
        child = context.Process(target=_child, args=(flights, queue))
        child.start()
    assert queue.get() == (0, 9)
    child.join()
    go.set()
    thread.join()


async def test_drivers_offload():
    main = threading.get_ident()
    assert await AsyncDriver().offload(threading.get_ident) != main
    assert run(BlockingDriver().offload(threading.get_ident)) == main
    with pytest.raises(ZeroDivisionError):
        await AsyncDriver().offload(lambda: 1 / 0)


def test_run_refuses_what_has_to_wait():
    with pytest.raises(RuntimeError, match=r"holdall\.sync"):
        run(asyncio.sleep(0))
