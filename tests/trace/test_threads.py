"""Threads that a workflow starts see its trace and its candidate while that is asked for, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import Pool, ThreadPool

from agentopt.trace.params import Param, applied
from agentopt.trace.recorder import CURRENT, record
from agentopt.trace.threads import carried

prompt = Param("own", "prompt")


def read_in_thread():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(prompt.value))
    thread.start()
    thread.join()
    return seen[0]


def test_a_thread_sees_the_candidate_of_its_starter():
    with applied({"prompt": "tried"}):
        assert read_in_thread() == "own"
        with carried():
            assert read_in_thread() == "tried"
            with ThreadPoolExecutor(2) as pool:
                assert set(pool.map(lambda _: prompt.value, range(20))) == {"tried"}
        assert read_in_thread() == "own"


def test_classes_of_threads_with_a_run_of_their_own():
    class Reader(threading.Thread):
        seen = ""

        def run(self):
            self.seen = prompt.value

    with carried(), applied({"prompt": "tried"}):
        reader = Reader()
        reader.start()
        reader.join()
    assert reader.seen == "tried"


def test_each_task_of_a_pool_sees_its_own_candidate():
    """Also the first, whose context the thread of the pool must not keep."""
    with ThreadPoolExecutor(1) as pool, carried():
        for value in ("first", "second"):
            with applied({"prompt": value}):
                assert pool.submit(lambda: prompt.value).result() == value
        assert pool.submit(lambda: prompt.value).result() == "own"


def test_pools_of_multiprocessing_see_the_candidate_of_who_gives_them_work():
    """Also those whose threads were there before, or were made for another candidate."""

    def read(*_):
        return prompt.value

    with ThreadPool(2) as old, carried():
        with applied({"prompt": "first"}):
            late = ThreadPool(2)
        with late:
            for pool in (old, late):
                for value in ("second", "third"):
                    with applied({"prompt": value}):
                        assert pool.apply(read) == value
                        assert pool.map(read, range(8)) == [value] * 8
                        assert pool.starmap(read, [(1, 2)]) == [value]
                        assert list(pool.imap(read, range(3))) == list(pool.imap_unordered(read, range(3), 2)) == [value] * 3
        assert old.apply(read) == "own"
    assert ThreadPool.imap is Pool.imap


def test_who_has_nothing_to_carry_is_left_alone():
    with carried():
        assert read_in_thread() == "own"


def test_what_was_there_is_put_back_when_the_last_one_leaves():
    before = threading.Thread.start, ThreadPoolExecutor.submit
    with carried():
        with carried():
            assert threading.Thread.start is not before[0]
        assert threading.Thread.start is not before[0]
    assert (threading.Thread.start, ThreadPoolExecutor.submit) == before


def test_who_covers_it_meanwhile_stays(monkeypatch):
    before = threading.Thread.start
    outer = carried()
    outer.__enter__()
    ours, starts = threading.Thread.start, []

    def start(self):
        starts.append(self)
        ours(self)

    threading.Thread.start = start
    outer.__exit__(None, None, None)
    assert threading.Thread.start is start
    with applied({"prompt": "tried"}):
        assert read_in_thread() == "own"
        with carried():
            assert read_in_thread() == "tried"
        assert len(starts) == 2
    threading.Thread.start = ours
    with carried():
        pass
    assert threading.Thread.start is before


def test_a_thread_that_is_over_keeps_no_trace_alive():
    with record(threads=True) as trace:
        thread = threading.Thread(target=lambda: prompt.value)
        thread.start()
        thread.join()
    assert len(trace.graph()) == 1
    seen = weakref.ref(trace)
    del trace
    gc.collect()
    assert seen() is None
    assert not thread.is_alive()


async def test_a_thread_of_an_event_loop():
    with record() as trace:
        assert await asyncio.to_thread(lambda: prompt.value) == "own"
        with carried(), applied({"prompt": "tried"}):
            assert await asyncio.get_running_loop().run_in_executor(None, lambda: prompt.value) == "tried"
    assert [node.value for node in trace.graph()] == ["own", "tried"]
    assert CURRENT.get() is None
