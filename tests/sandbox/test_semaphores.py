"""What stands in for semaphores does what those of the system do, among threads."""

from __future__ import annotations

import _multiprocessing
import itertools
import multiprocessing
import subprocess
import sys
import threading
import time

import pytest

from agentopt.sandbox import semaphores

NAMES = (f"/agentopt-test-{time.monotonic_ns()}-{number}" for number in itertools.count())
RECURSIVE, SEMAPHORE = range(2)


@pytest.fixture(params=[semaphores.SemLock, _multiprocessing.SemLock], ids=["ours", "the system's"])
def make(request):
    return lambda kind, value, most: request.param(kind, value, most, next(NAMES), True)


def elsewhere(action):
    """What ``action`` gives or raises in another thread."""
    found = []

    def work():
        try:
            found.append(action())
        except Exception as error:
            found.append(type(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


def test_a_lock(make):
    lock = make(SEMAPHORE, 1, 1)
    assert (lock.kind, lock.maxvalue, lock.name) == (SEMAPHORE, 1, lock.name)
    assert lock.acquire()
    assert lock._is_mine()
    assert lock._count() == 1
    assert lock._is_zero()
    assert not lock.acquire(False)
    assert not lock.acquire(True, 0.01)
    assert elsewhere(lock._is_mine) is False
    assert elsewhere(lambda: lock.acquire(False)) is False
    lock.release()
    assert lock._get_value() == 1
    with pytest.raises(ValueError, match="released too many times"):
        lock.release()


def test_a_lock_that_may_be_taken_twice(make):
    lock = make(RECURSIVE, 1, 1)
    with lock, lock:
        assert lock._count() == 2
        assert elsewhere(lambda: lock.acquire(False)) is False
        assert elsewhere(lock.release) is AssertionError
    assert not lock._is_mine()
    assert elsewhere(lambda: (lock.acquire(), lock.release())) == (True, None)
    with pytest.raises(AssertionError, match="not owned by thread"):
        lock.release()


def test_a_semaphore_counts(make):
    semaphore = make(SEMAPHORE, 2, 3)
    assert [semaphore.acquire(False) for _ in range(3)] == [True, True, False]
    threading.Timer(0.05, semaphore.release).start()
    assert semaphore.acquire(True, 5)
    for _ in range(3):
        semaphore.release()
    assert semaphore._get_value() == 3
    semaphore._after_fork()


def test_with_it_multiprocessing_works_among_threads():
    code = """
import sys
from agentopt.sandbox import semaphores
if sys.argv[1] == "late": import multiprocessing.synchronize
semaphores.install()
import multiprocessing, multiprocessing.pool
pool = multiprocessing.pool.ThreadPool(4)
assert sum(pool.map(abs, range(-99, 1))) == 4950
pool.close(); pool.join()
condition, event, queue = multiprocessing.Condition(), multiprocessing.Event(), multiprocessing.SimpleQueue()
with condition: condition.notify_all()
event.set(); queue.put(4)
assert event.wait(1) and queue.get() == 4
assert type(multiprocessing.Lock()._semlock) is semaphores.SemLock
"""
    for when in ("early", "late"):
        subprocess.run([sys.executable, "-c", code, when], check=True)
    assert type(multiprocessing.Lock()._semlock) is not semaphores.SemLock  # here nothing changed
