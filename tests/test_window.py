"""Saves that are started at once: so many are under way, the others wait in order."""

from __future__ import annotations

import asyncio

import pytest

import holdall
from holdall._window import MOST, Window, window_of


class Noted:
    """Says when it is encoded."""

    def __init__(self, number: int, log: list[int]) -> None:
        self.number, self.log = number, log


def encode(value: Noted) -> int:
    value.log.append(value.number)
    return value.number


@pytest.fixture
async def blobs(tmp_path):
    async with holdall.BlobManager(tmp_path / "store") as manager:
        await manager.save("first", 0)
        yield manager


def saves(blobs, count, log):
    return [
        asyncio.create_task(
            blobs.save(f"k{n}", Noted(n, log), "custom_json", custom_encoder=encode)
        )
        for n in range(count)
    ]


async def test_one_turn_of_the_loop_encodes_no_more_than_a_window(blobs):
    log: list[int] = []
    tasks = saves(blobs, 3 * MOST, log)
    await asyncio.sleep(0)
    assert log == list(range(MOST))
    await asyncio.gather(*tasks)
    assert log == list(range(3 * MOST))
    assert len([key async for key in blobs.keys("k")]) == 3 * MOST


async def test_the_last_of_many_saves_of_one_key_is_what_stays(blobs):
    await asyncio.gather(*(blobs.save("same", n) for n in range(2 * MOST + 7)))
    assert await blobs.load("same") == 2 * MOST + 6


async def test_cancelled_saves_give_their_places_back(blobs):
    log: list[int] = []
    tasks = saves(blobs, 2 * MOST, log)
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    assert all(
        isinstance(one, asyncio.CancelledError)
        for one in await asyncio.gather(*tasks, return_exceptions=True)
    )
    assert log == list(range(MOST))
    await asyncio.gather(*saves(blobs, 2 * MOST, log))
    assert await blobs.load(f"k{2 * MOST - 1}", "custom_json") == 2 * MOST - 1


async def test_a_failed_save_gives_its_place_back(blobs):
    results = await asyncio.gather(
        *(blobs.save(f"k{n}", {1, 2}, "json") for n in range(2 * MOST)), return_exceptions=True
    )
    assert all(isinstance(one, holdall.SerializationError) for one in results)
    await asyncio.gather(*(blobs.save(f"k{n}", n) for n in range(2 * MOST)))


async def test_a_place_given_to_a_task_that_is_cancelled_goes_to_the_next():
    window = Window(asyncio.get_running_loop())
    assert all(window.enter() for _ in range(MOST))
    cancelled, following = (asyncio.create_task(window.turn()) for _ in range(2))
    await asyncio.sleep(0)
    assert not window.enter()
    window.leave()
    cancelled.cancel()
    await following
    assert cancelled.cancelled() or await asyncio.gather(cancelled, return_exceptions=True)
    for _ in range(MOST):
        window.leave()
    assert all(window.enter() for _ in range(MOST))
    assert not window.enter()


async def test_a_waiting_save_that_is_thrown_away_does_not_keep_a_place():
    window = Window(asyncio.get_running_loop())
    assert all(window.enter() for _ in range(MOST))
    waiting = window.turn()
    waiting.send(None)
    waiting.close()
    window.leave()
    assert window.enter()


def test_every_loop_has_a_window_of_its_own():
    async def own() -> Window:
        assert window_of(asyncio.get_running_loop()) is window_of(asyncio.get_running_loop())
        return window_of(asyncio.get_running_loop())

    assert asyncio.run(own()) is not asyncio.run(own())
