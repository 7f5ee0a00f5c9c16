"""A user's own program, in a process of its own: learnt code is applied and called behind walls."""

from __future__ import annotations

import math
import re
import subprocess
import sys

from tests.house.source import PACKAGE, ROOT, clean_environment

PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from agentopt.core.running import CodeFailed
from agentopt.trainables import shared_runner, trainable

STEP = 2

@trainable(uses=["STEP"])
def move(x):
    return x + STEP

@trainable(trust=True)
def here():
    return 0

assert move(1) == 3
move.param.set("import os\\ndef move(x):\\n    return [x * STEP, os.getpid()]\\n")
value, pid = move(5)
assert value == 10 and pid != os.getpid(), (value, pid)
assert shared_runner() is shared_runner() and shared_runner().sandbox.startswith("L2"), shared_runner().sandbox
move.param.set("def move(x):\\n    return open(x).read()\\n")
try:
    move(os.path.abspath(__file__))
except CodeFailed as failure:
    assert failure.kind == "crash" and "PermissionError" in failure.message, failure
else:
    raise AssertionError("the user's file was read")
here.param.set("import os\\ndef here():\\n    return os.getpid()\\n")
assert here() == os.getpid()
if (child := os.fork()) == 0:
    move.param.set("def move(x):\\n    return x\\n")
    ok = move(7) == 7
    shared_runner().close()
    os._exit(0 if ok else 1)
assert os.waitpid(child, 0)[1] == 0
print("all of it")
"""


def test_a_process_has_one_runner_for_all():
    from agentopt import trainables

    runner = trainables.shared_runner()
    try:
        assert trainables.shared_runner() is runner

        @trainables.trainable(uses=["PROGRAM"])
        def first(n):
            return PROGRAM[:n]

        first.param.set("def first(n):\n    return PROGRAM[n]\n")
        assert first(0) == "\n"
    finally:
        runner.close()
        trainables._opened.cache_clear()


def test_the_documents_program_works(tmp_path):
    (tmp_path / "program.py").write_text(re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "trainable.md").read_text(), re.DOTALL)[0])
    command = [sys.executable, "-W", "error", "program.py"]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=120)
    own, learnt = done.stdout.split()
    assert (done.stderr, float(own), float(learnt)) == ("", 3 + math.sin(10), 6.0)


def test_learnt_code_is_called_in_a_box(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning:__main__", str(program), str(PACKAGE.parent)]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("all of it\n", "")
