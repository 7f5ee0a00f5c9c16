"""What must not be in a box: answers, other cases, other candidates, keys. Searched for in objects and in all of its memory."""

from __future__ import annotations

import ast
import asyncio
import os
from dataclasses import replace

import pytest

from agentopt.core.protocols import Wish
from agentopt.core.task import Case, Limits, Score
from agentopt.executors.boxed import Boxed
from tests.boxes import context, make_task, once
from tests.hostile.arena import at, why_not

KEY = "AGENTOPT_TEST_API_KEY"
LEVELS = ["L1", "L2"]
# pieces of memory as (begin, bytes): told by the kernel, or felt from every object outwards by a call that fails for what is no memory
PIECES = {
    "L1": """
def pieces():
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in maps.read().splitlines():
            span, rights = line.split()[:2]
            low, high = (int(part, 16) for part in span.split("-"))
            if rights.startswith("rw") and "[v" not in line:
                memory.seek(low)
                yield low, memory.read(high - low)
""",
    "L2": """
import ctypes, gc, os
PAGE = 4096
libc = ctypes.CDLL(None)
mirror, echo = os.pipe()

def is_memory(address):
    found = libc.write(echo, ctypes.c_void_p(address), ctypes.c_size_t(1)) == 1
    return found and bool(os.read(mirror, 1))

def pieces():
    objects = gc.get_objects()
    seeds = {id(thing) for thing in objects + gc.get_referents(*objects)} | {id(bytes(size)) for size in (9, 99, 999, 9999, 99999)}
    seeds |= {ctypes.addressof(ctypes.create_string_buffer(size)) for size in (9, 999, 99999)}
    seen = set()
    for seed in sorted(seeds):
        for step in (PAGE, -PAGE):
            page = seed // PAGE * PAGE
            while page not in seen and is_memory(page):
                seen.add(page)
                page += step
    begin = end = 0
    for page in sorted(seen) + [0]:
        if page != end:
            if begin:
                yield begin, ctypes.string_at(begin, end - begin)
            begin = page
        end = page + PAGE
""",
}
SEARCH = """
def f(x):
    words = [bytes(255 - number for number in word) for word in x["words"]]
    own = {id(word) + bytes.__basicsize__ - 1 for word in words}
    found = []
    for begin, data in pieces():
        for word in words:
            place = data.find(word)
            while place >= 0:
                if begin + place not in own:
                    found.append(word.decode())
                place = data.find(word, place + 1)
        del data
    return sorted(set(found))
"""
OBJECTS = """
import gc, sys

def f(x):
    words = [bytes(255 - number for number in word).decode() for word in x["words"]]
    found = []
    frame = sys._getframe(1)
    while frame:
        found += [name for name, value in [*frame.f_locals.items(), *frame.f_globals.items()] if any(w in repr(value) for w in words)]
        frame = frame.f_back
    for thing in gc.get_objects():
        if isinstance(thing, (dict, list, tuple)) and thing is not words:
            members = list(thing.values()) if isinstance(thing, dict) else list(thing)
            found += [member for member in members if type(member) is str and member in words]
    return sorted(set(found))
"""
IS_OPEN = """
import os

def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
"""
EARLIER = """
def f(x):
    print("printed-by-an-earlier-candidate" * 40)
    mine = "source-of-an-earlier-candidate"
    if x.get("fail"):
        raise ValueError("error-of-an-earlier-candidate" * 40)
    return [x["text"], "output-of-an-earlier-candidate" * 40]
"""
WORDS = [
    "answer-of-the-case-asked",
    "answer-of-another-case",
    "input-of-another-case",
    "printed-by-an-earlier-candidate",
    "source-of-an-earlier-candidate",
    "error-of-an-earlier-candidate",
    "output-of-an-earlier-candidate",
    "key-in-the-environment",
]
HIDDEN = [[255 - number for number in word.encode()] for word in WORDS]


def our_task():
    others = [Case(f"other-{size}", {"text": "input-of-another-case" * size}, "answer-of-another-case") for size in (1, 50, 5000)]
    failing = Case("failing", {"fail": True, "text": "input-of-another-case" * 50}, "answer-of-another-case")
    cases = [Case("asked", {"words": HIDDEN}, "answer-of-the-case-asked"), *others, failing]
    task = make_task(limits=Limits(seconds=20.0, memory_mb=256), cases={"train": cases})

    @task.run
    def run(program, input):
        return program.f(input)

    @task.score
    def score(case, output, measured):
        return Score(right=0.0, feedback=repr(output)[:2000])

    return task


@pytest.fixture(params=LEVELS)
def found(request, monkeypatch):
    """``found(source)``: what a candidate says of its box, after others were served by the same guard."""
    if why := why_not(request.param):
        pytest.skip(why)
    monkeypatch.setenv(KEY, "key-in-the-environment")
    task = our_task()

    async def ask(source: str) -> str:
        executor = Boxed(replace(context(task), wish=Wish(request.param)))
        try:
            for case in ("other-1", "other-50", "failing", "other-5000"):
                await once(executor, task, EARLIER, case)
            rollout = await once(executor, task, source, "asked")
        finally:
            await executor.close()
        return rollout.feedback or str(rollout.failure)

    with at(request.param):
        yield lambda source: asyncio.run(ask(source)), PIECES[request.param]


def test_memory_holds_nothing_of_others(found):
    ask, pieces = found
    assert ask(pieces + SEARCH) == "[]"


def test_objects_hold_nothing_of_others(found):
    ask, _ = found
    assert ask(OBJECTS) == "[]"


@pytest.mark.parametrize("size", [1, 40, 40_000])
def test_the_search_would_find_it(found, size):
    ask, pieces = found
    plant = f"planted = bytes(255 - n for n in {HIDDEN[0]}) * {size}\n"
    assert ask(plant + pieces + SEARCH) == repr(WORDS[:1])


def test_the_search_in_objects_would_find_it(found):
    ask, _ = found
    assert ask(f"planted = [bytes(255 - n for n in {HIDDEN[0]}).decode()]\n" + OBJECTS) == repr(WORDS[:1])


def test_the_users_environment_is_not_there(found):
    ask, _ = found
    said = ask("import os\ndef f(x): return sorted(os.environ)\n")
    assert "TMPDIR" in said
    assert KEY not in said
    assert KEY in os.environ


def test_it_inherits_no_descriptor_but_its_own(found):
    ask, _ = found
    assert ask(IS_OPEN + "def f(x): return [n for n in range(256) if is_open(n)]\n") == "[0, 1, 2, 3]"


def test_its_home_is_its_scratch_folder(found):
    ask, _ = found
    source = "import os, tempfile\ndef f(x): return len({os.getcwd(), os.environ['HOME'], os.environ['TMPDIR'], tempfile.gettempdir()})\n"
    assert ask(source) == "1"


PEEK = """
import os

def may_change(pid):
    try:
        open(f"/proc/{pid}/mem", "r+b").close()
    except OSError:
        return False
    return True

def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return file.read().split()
    except OSError:
        return []

def f(x):
    ours = [x["controller"], os.getppid(), *children(x["controller"]), *children(os.getpid())]
    ours += [guard for zygote in children(x["controller"]) for guard in children(zygote)]
    others = set(map(int, ours)) - {os.getpid()}
    return [len(others), [pid for pid in others if may_change(pid)]]
"""


@pytest.mark.skipif(os.getuid() == 0, reason="root looks into everything")
@pytest.mark.parametrize("level", LEVELS)
def test_no_process_of_ours_can_be_looked_into(level):
    """At L1 the controller, the scorer, the zygote, the guard and the next box are processes of the candidate's own user."""
    if why := why_not(level):
        pytest.skip(why)
    task = our_task()
    task.cases = {"train": [Case("asked", {"controller": os.getpid()}, 0)]}

    async def ask() -> str:
        executor = Boxed(replace(context(task), wish=Wish(level)))
        try:
            await once(executor, task, "def f(x): return 0", "asked")  # so that there is a scorer
            return (await once(executor, task, PEEK, "asked")).feedback
        finally:
            await executor.close()

    with at(level):
        count, found = ast.literal_eval(asyncio.run(ask()))
    assert found == []
    assert count >= (5 if level == "L1" else 2)
