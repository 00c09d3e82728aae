"""Back-pressure: so many jobs at once, so many waiting, the others with a time to come again."""

import asyncio
import threading

import pytest

from voice2face_gan.errors import ServeError
from voice2face_gan.web.limits import Limits
from voice2face_gan.web.pool import Pool
from voice2face_gan.web.refusal import Refusal


async def gathered(pool: Pool, count: int, gate: threading.Event):
    tasks = [asyncio.create_task(pool.run(lambda: gate.wait(10) and 7)) for _ in range(count)]
    await asyncio.sleep(0.05)
    gate.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_what_is_too_many_is_refused_at_once():
    async def main():
        pool = Pool(Limits(workers=2, queue=3, wait_seconds=60))
        results = await gathered(pool, 9, threading.Event())
        refusals = [r for r in results if isinstance(r, Refusal)]
        assert results.count(7) == 5 and len(refusals) == 4 and pool.refused == 4 and pool.in_flight == 0
        assert all(r.status == 429 and r.retry_after >= 1 for r in refusals)
        assert await pool.run(lambda: 8) == 8
        pool.close()

    asyncio.run(main())


def test_a_long_wait_is_refused_too():
    async def main():
        pool = Pool(Limits(workers=1, queue=100, wait_seconds=10))
        pool.mean_seconds = 4.0
        results = await gathered(pool, 6, threading.Event())
        assert results.count(7) == 3, "running, 4 s to wait, 8 s to wait"
        (retry,) = {r.retry_after for r in results if isinstance(r, Refusal)}
        assert retry == 12
        pool.close()

    asyncio.run(main())


def test_errors_come_through_and_free_the_place():
    async def main():
        pool = Pool(Limits(workers=1, queue=1))
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await pool.run(lambda: 1 / 0)
        assert pool.in_flight == 0
        pool.close()

    asyncio.run(main())


def test_a_client_that_leaves_keeps_its_place_until_the_job_ends():
    async def main():
        pool, gate = Pool(Limits(workers=1, queue=1)), threading.Event()
        task = asyncio.create_task(pool.run(lambda: gate.wait(10)))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.sleep(0.02)
        assert pool.in_flight == 1
        gate.set()
        assert await pool.run(lambda: 3) == 3 and pool.in_flight == 0
        pool.close()

    asyncio.run(main())


def test_limits_are_checked():
    for value in (0, float("nan"), float("inf")):
        with pytest.raises(ServeError, match="queue must be a number above 0"):
            Limits(queue=value)
    assert Limits().workers >= 1
