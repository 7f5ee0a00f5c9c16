"""Whole programs through the executor: built once, run per case, and what a failure costs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from agentopt.core import wire
from agentopt.core.errors import ConfigError, TaskError
from agentopt.core.protocols import Wish
from agentopt.core.task import Case, Limits, Objective, Parameter
from agentopt.executors.boxed import Boxed
from agentopt.executors.inline import Inline
from agentopt.executors.worker import Worker
from agentopt.sandbox import levels, programs
from agentopt.sandbox.door import Abandoned, Ended
from agentopt.sandbox.harness import numpy_array
from agentopt.sandbox.levels import choose
from agentopt.sandbox.program import Piece, pieces_to_json
from agentopt.sandbox.programs import Programs, program_cases
from agentopt.sandbox.walls import caps_of
from tests.boxes import candidate, context
from tests.hostile.programs import SECONDS, make_task

CAPS = caps_of(Limits(seconds=5, memory_mb=128, output_mb=1, printed_mb=1, file_mb=1, scratch_mb=2))
ONE = {"train": [Case("one", "")]}


async def rollouts(task, *case_ids: str, kept: list[bytes] | None = None, **values):
    """One candidate on cases, one after another."""
    executor = Boxed(context(task, kept=kept))
    try:
        session = await executor.open(candidate(task, **values))
        return [await session.rollout(case_id, 0, 7) for case_id in case_ids]
    finally:
        await executor.close()


def shell(build: str = "", command: str = "./solve.sh", **changes):
    """A task whose program is a shell script."""
    changes = {"build": ["sh", "-c", build] if build else [], "command": ["sh", "solve.sh"]} | changes
    return make_task("shell", **changes)


@pytest.mark.usefixtures("level_3")
class TestBoxed:
    async def test_a_program_in_cpp_is_built_and_run(self):
        task = make_task("cpp", cases={"train": [Case("sum", "1 2 39", "42 True\n"), Case("other", b"1 1", "2 True\n")]})
        found = await rollouts(task, "sum", "other")
        assert [rollout.scores for rollout in found] == [{"right": 1.0}] * 2
        assert all(rollout.measured.peak_bytes > 1 << 19 for rollout in found)

    async def test_stdin_and_arguments(self):
        cases = [
            Case("plain", "text"),
            Case("bytes", b"\xff\n"),
            Case("both", {"stdin": "in", "args": ["a b", "$HOME"]}),
            Case("nothing", {}),
        ]
        found = await rollouts(shell(cases={"train": cases}), "plain", "bytes", "both", "nothing", solve='cat; for x; do echo "<$x>"; done')
        assert [rollout.feedback for rollout in found] == ["text", "\ufffd\n", "in<a b>\n<$HOME>\n", ""]

    async def test_the_seed_is_in_the_environment(self):
        (found,) = await rollouts(shell(cases=ONE), "one", solve='echo "$AGENTOPT_RNG_SEED"')
        assert found.feedback == "7\n"

    async def test_it_is_built_once_and_a_run_that_fails_costs_no_new_build(self):
        build = "date +%N > built"
        cases = [Case(str(k), f"{k}") for k in range(4)]
        task = shell(build, cases={"train": cases}, limits=Limits(seconds=1.5))
        script = 'read -r k; [ "$k" = 1 ] && exit 3; while [ "$k" = 2 ]; do :; done; read -r when < built; echo "$when"'
        first, crashed, late, last = await rollouts(task, "0", "1", "2", "3", solve=script)
        assert first.feedback == last.feedback != ""
        assert (crashed.failure.kind, late.failure.kind) == ("crash", "timeout")

    async def test_a_build_that_fails_tells_what_the_compiler_said(self):
        (found,) = await rollouts(make_task("cpp"), "sum", solve="int main() { return undeclared; }\n")
        assert found.failure.kind == "build"
        assert found.failure.message.startswith("g++: exit status 1\n")
        assert "undeclared" in found.failure.message
        assert "\x1b" not in found.failure.message

    async def test_a_build_that_never_ends_is_not_run_half_done(self):
        task = shell("echo 'echo half' > half.sh; while :; do :; done", command=["sh", "half.sh"], cases=ONE, limits=Limits(seconds=0.5))
        for found in await rollouts(task, "one", "one"):
            assert (found.failure.kind, found.failure.message) == ("timeout", "the build: no end within limits.seconds: 0.5 s")

    async def test_what_it_says_on_stderr_is_kept(self):
        kept: list[bytes] = []
        (found,) = await rollouts(shell(cases=ONE), "one", kept=kept, solve="echo hint >&2; echo answer")
        assert (found.feedback, found.printed, kept) == ("answer\n", "printed-5", [b"hint\n"])

    async def test_parameters_of_all_kinds_are_files(self):
        parameters = {
            "solve": Parameter("solve", "code", "cat deep/lib.sh settings.json level.json hint.txt", language="sh", path="solve.sh"),
            "lib": Parameter("lib", "code", "lib ", language="sh", path="deep/lib.sh"),
            "settings": Parameter("settings", "config", {"a": [1]}),
            "level": Parameter("level", "value", 2.5),
            "hint": Parameter("hint", "prompt", "be quick"),
        }
        (found,) = await rollouts(shell(parameters=parameters, cases=ONE), "one")
        assert found.feedback == 'lib {"a": [1]}2.5be quick'

    async def test_files_beside_the_task_are_there_and_read_only(self, tmp_path: Path):
        (tmp_path / "table.txt").write_text("table")
        task = shell(folder=tmp_path, box_files=("table.txt",), cases=ONE)
        (found,) = await rollouts(task, "one", solve="cat table.txt; echo x > table.txt || echo ' kept'")
        assert found.feedback == "table kept\n"
        assert (tmp_path / "table.txt").read_text() == "table"

    async def test_a_path_that_leaves_the_box_and_text_that_no_file_holds(self):
        outside = {"solve": Parameter("solve", "code", "true", language="sh", path="../solve.sh")}
        (found,) = await rollouts(shell(parameters=outside, cases=ONE), "one")
        assert (found.failure.kind, "leaves the box's folder" in found.failure.message) == ("build", True)
        (found,) = await rollouts(shell(cases=ONE), "one", solve="echo \ud800")
        assert (found.failure.kind, "cannot be written as UTF-8" in found.failure.message) == ("build", True)

    async def test_an_answer_that_grows_when_it_is_spelled_out_is_oversize(self):
        (found,) = await rollouts(
            shell(cases=ONE, limits=Limits(output_mb=1.0)), "one", solve="head -c 500000 /dev/zero | tr '\\0' '\\377'"
        )
        assert found.failure.kind == "oversize"

    async def test_tight_limits_are_the_programs_not_the_compilers(self):
        task = make_task("cpp", limits=Limits(seconds=SECONDS["cpp"], memory_mb=16, file_mb=0.01, scratch_mb=0.01))
        (found,) = await rollouts(task, "sum")
        assert found.scores == {"right": 1.0}

    async def test_a_session_can_be_closed_while_its_program_runs(self):
        import asyncio

        executor = Boxed(context(shell(cases=ONE, limits=Limits(seconds=60))))
        session = await executor.open(candidate(shell(cases=ONE), solve="echo; sleep 60"))
        running = asyncio.create_task(session.rollout("one", 0, 1))
        await asyncio.sleep(1.0)
        async with asyncio.timeout(10):
            await session.close()
            assert (await running).failure.kind == "infrastructure"
        await executor.close()

    async def test_the_executor_says_its_level(self):
        executor = Boxed(context(shell(cases=ONE)))
        assert executor.sandbox.startswith("L3/bubblewrap+seccomp/Linux")
        await executor.close()


@pytest.fixture
def door(level_3: Path, adopting: None):
    """Programs as a guard has them, in this process."""
    read, write = os.pipe()

    def make(**orders) -> Programs:
        scratch = Path(tempfile.mkdtemp(dir=level_3))
        made = Programs(scratch, CAPS, {"build": (), "command": ["sh", "solve.sh"], "processes": 64} | orders, [read])
        made.start_deadline(10)
        made.start_clocks()
        return made

    make.wake = lambda: os.write(write, b"x")
    yield make
    os.close(read)
    os.close(write)


def spec(source: str) -> bytes:
    return wire.encode(pieces_to_json([Piece("solve", "code", source, "sh", None, "solve.sh")]))


ASKED = wire.encode({"stdin": b"", "args": []})


class TestProgramsInThisProcess:
    def test_it_waits_for_the_controller(self, door):
        made = door()
        door.wake()
        assert made.idle() is None
        with pytest.raises(Abandoned):
            made.exchange({}, spec("true")) and made.exchange({"rng_seed": 1}, ASKED)
        made.end()
        made.close()

    def test_a_build_and_a_run(self, door):
        made = door(build=["sh", "-c", "echo warning >&2; echo 'echo built' > solve.sh"])
        assert made.exchange({}, spec("true")) == ("ok", "", b"", ())
        assert made.take_printed() == b"warning\n"
        assert made.take_printed() == b""
        reply = made.exchange({"rng_seed": 1}, ASKED)
        assert (reply.status, wire.decode(reply.body, numpy_array)) == ("ok", "built\n")
        assert made.read_clocks().wall > 0
        made.start_clocks()
        assert made.read_clocks().wall == 0

    @pytest.mark.parametrize(
        ("script", "kind", "words"),
        [
            ("exit 3", "crash", "exit status 3"),
            ("echo bad luck >&2; exit 1", "crash", "exit status 1\nbad luck"),
            ("kill -XCPU $$", "timeout", "the CPU limit was reached"),
            ("kill -9 $$", "memory", "the system killed the program"),
            ("echo 'terminate: std::bad_alloc' >&2; exit 1", "memory", "the memory limit was reached: exit status 1\nterminate"),
        ],
    )
    def test_how_a_program_can_end(self, door, script: str, kind: str, words: str):
        made = door()
        made.exchange({}, spec(script))
        reply = made.exchange({"rng_seed": 1}, ASKED)
        assert reply.status == kind
        assert reply.message.startswith(words)

    def test_stderr_is_kept_up_to_a_cap_and_ends_it_past_another(self, door):
        made = door()
        made.exchange({}, spec("head -c 100000 /dev/zero >&2"))
        assert made.exchange({"rng_seed": 1}, ASKED).status == "ok"
        assert len(made.take_printed()) == 64 << 10
        for _ in range(12):
            reply = made.exchange({"rng_seed": 1}, ASKED)
        assert (reply.status, reply.message) == ("oversize", f"it printed more than limits.printed_mb: {CAPS.printed} bytes")
        assert made.take_printed() == b""

    def test_a_build_ends_with_a_word_on_it(self, door):
        made = door(build=["sh", "-c", "sleep 60"])
        made.start_deadline(0.3)
        with pytest.raises(Ended, match="the build: no end within") as end:
            made.exchange({}, spec("true"))
        assert end.value.kind == "timeout"
        with pytest.raises(Ended, match=r"the build: its files take more than limits.scratch_mb") as end:
            door(build=["sh", "-c", "mkdir -p " + "d/" * 70]).exchange({}, spec("true"))
        assert end.value.kind == "oversize"
        assert door(build=["sh", "-c", "echo why; exit 4"]).exchange({}, spec("true"))[:2] == ("build", "sh: exit status 4\nwhy")

    def test_what_the_machine_refuses_is_infrastructure(self, door, monkeypatch: pytest.MonkeyPatch):
        made = door()
        made.exchange({}, spec("true"))
        monkeypatch.setattr(made, "_bwrap", "/nowhere/bwrap")
        with pytest.raises(Ended, match="the program's box could not be set up: ") as end:
            made.exchange({"rng_seed": 1}, ASKED)
        assert end.value.kind == "infrastructure"
        monkeypatch.setattr(programs, "find_bwrap", lambda: None)
        with pytest.raises(OSError, match="bubblewrap is not installed"):
            door()


class TestInputs:
    @pytest.mark.parametrize(
        ("value", "stdin", "args"),
        [
            ("text", b"text", []),
            (b"bytes", b"bytes", []),
            ({"stdin": "é"}, "é".encode(), []),
            ({"args": ["a", "b"]}, b"", ["a", "b"]),
            ({"stdin": b"x", "args": ("a",)}, b"x", ["a"]),
        ],
    )
    def test_what_a_program_can_be_given(self, value, stdin, args):
        cases = program_cases({"train": (Case("a", value, "expected"),)})
        assert cases == {"train": (Case("a", {"stdin": stdin, "args": args}, "expected"),)}

    @pytest.mark.parametrize("value", [None, 3, ["a"], {"stdin": 3}, {"stdin": "x", "more": 1}, {"argv": []}])
    def test_other_inputs_are_refused(self, value):
        with pytest.raises(
            TaskError, match=r"case 'a': the input of a program is text or bytes for stdin, or {'stdin': ..., 'args': \[...\]}"
        ):
            program_cases({"train": (Case("a", value),)})

    @pytest.mark.parametrize("args", ["text", [1], ["a\0b"], None, {"a": 1}])
    def test_other_arguments_are_refused(self, args):
        with pytest.raises(TaskError, match=r"case 'a': args is .*; give a list of words"):
            program_cases({"train": (Case("a", {"args": args}),)})


class TestLevel:
    @pytest.mark.parametrize(("wish", "asked"), [(Wish("L2"), "level L2"), (Wish("L1"), "level L1"), (Wish(unsafe=True), "--unsafe")])
    def test_a_program_runs_at_level_3_only(self, wish, asked):
        with pytest.raises(
            ConfigError, match=f"sandbox: {asked} was asked for, but a task with a command runs at level L3 only; leave it out"
        ):
            choose(shell(cases=ONE), wish)

    def test_where_there_is_no_level_3_it_does_not_run(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(levels, "probe_programs", lambda: "level L3 needs bubblewrap, which is not installed")
        with pytest.raises(TaskError, match="task 'programs-shell' has a command: level L3 needs bubblewrap, which is not installed"):
            choose(shell(cases=ONE), Wish())

    def test_a_tool_that_is_missing_is_the_tasks_mistake(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(levels, "probe_programs", lambda: "")
        with pytest.raises(TaskError, match="build starts 'no-such-compiler', which is not installed"):
            choose(make_task("cpp", build=["no-such-compiler"]), Wish())

    def test_needs_are_met_and_one_of_them_keeps_it_alone(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(levels, "probe_programs", lambda: "")
        assert choose(shell(cases=ONE, needs=("no_network", "no_files")), Wish()).orders["programs"]["processes"] == 64
        assert choose(shell(cases=ONE, needs=("no_processes",)), Wish()).orders["programs"]["processes"] == 2

    @pytest.mark.parametrize(("executor", "name"), [(Inline, "inline"), (Worker, "worker")])
    def test_executors_without_boxes_refuse_it(self, executor, name):
        with pytest.raises(TaskError, match=f"has a command, and whole programs do not run in the executor {name}; use boxed"):
            executor(context(shell(cases=ONE)))

    def test_the_objective_may_be_measured_outside(self):
        shell(cases=ONE, objectives=[Objective("seconds", "min", source="outside", quantity="cpu")]).check()
