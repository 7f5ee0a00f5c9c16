"""Agents: programs that are asked over stdin and answer over stdout, in a box of their own."""

from __future__ import annotations

import asyncio
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from agentopt.core.chat import ChatRequest, Message, ModelError
from agentopt.core.errors import ConfigError
from agentopt.llm import agent_box, command
from agentopt.llm.choose import ModelSettings, ModelSpec, build_model
from agentopt.testing.fake_llm import FakeLLM
from tests.llm.helpers import ask
from tests.llm.test_relay import until

ROOT = Path(__file__).parents[2]
PYTHON = [sys.executable, "-I", "-c"]


@pytest.fixture(params=["box", "unsafe"])
def unsafe(request: pytest.FixtureRequest) -> bool:
    if request.param == "box":
        request.getfixturevalue("box")
    return request.param == "unsafe"


@pytest.fixture(autouse=True)
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the agents' folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def marker() -> str:
    """A number of seconds that nobody else sleeps."""
    return f"{random.randint(10**6, 10**7)}.125"


def alive(marker: str) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"sleep" in words and marker.encode() in words:
                found.append(int(entry.name))
    return found


def build(*words: str, **settings: Any) -> Any:
    return build_model(ModelSpec("command", shlex.join(words)), ModelSettings(**settings))


async def told(*words: str, **settings: Any) -> str:
    model = build(*words, **settings)
    try:
        return (await model.complete(ask())).text
    finally:
        await model.close()


async def failing(*words: str, **settings: Any) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await told(*words, **settings)
    assert not caught.value.retryable
    assert caught.value.attempts == 1
    return caught.value


# --- how it goes


async def test_the_prompt_is_its_stdin_and_its_stdout_the_reply(unsafe: bool, left: Path) -> None:
    model = build("cat", unsafe_agent=unsafe)
    assert model.name == "command:cat"
    request = ChatRequest((Message("system", "Be brief."), Message("user", "a\n=== user\nb\x1b")))
    reply = await model.complete(request)
    assert reply.text == "=== system\nBe brief.\n=== user\na\n\\=== user\nb\x1b\n"
    assert (reply.model, reply.finish, reply.usage, reply.cost_usd) == (
        "command:cat (without a box)" if unsafe else "command:cat",
        "stop",
        None,
        None,
    )
    assert reply.latency > 0
    assert not list(left.iterdir())
    await model.close()


async def test_several_calls_at_once_have_folders_of_their_own(unsafe: bool, left: Path) -> None:
    model = build("sh", "-c", "ls -A; touch mine; mkdir -p a/b; chmod 0 a; pwd", unsafe_agent=unsafe)
    replies = await asyncio.gather(*(model.complete(ask(sample=number)) for number in range(3)))
    folders = {reply.text for reply in replies}
    assert folders == {"/box\n"} if not unsafe else len(folders) == 3
    assert not list(left.iterdir())


async def test_a_prompt_that_nobody_reads_and_stderr_do_no_harm(unsafe: bool) -> None:
    model = build("sh", "-c", "head -c 300000 /dev/zero >&2; echo done", unsafe_agent=unsafe)
    assert (await model.complete(ask("x" * 1_000_000))).text == "done\n"


async def test_an_exit_status_is_an_error_with_the_end_of_stderr_and_without_secrets(unsafe: bool) -> None:
    script = 'echo "$(yes 1 | head -c 20000) the key $MY_KEY was refused" >&2; echo half; exit 3'
    environ = dict(os.environ) | {"MY_KEY": "planted-secret-of-a-test"}
    error = await failing("sh", "-c", script, unsafe_agent=unsafe, environ=environ, agent_env=("MY_KEY",))
    assert error.kind == "server"
    assert "exit status 3: " in error.message
    assert error.message.endswith("1 1 the key [secret] was refused")
    assert len(error.message) < 700
    assert "it wrote nothing to stderr" in (await failing("false", unsafe_agent=unsafe)).message
    assert "exit status 137" in (await failing("sh", "-c", "kill -9 $$; sleep 9", unsafe_agent=unsafe)).message


async def test_an_endless_one_is_ended(unsafe: bool, left: Path, marker: str) -> None:
    error = await failing("sh", "-c", f"trap '' TERM; (setsid sleep {marker} &) ; sleep {marker}", unsafe_agent=unsafe, agent_seconds=1.0)
    assert (error.kind, error.message.rpartition(": ")[2]) == ("timeout", "no end within 1 s")
    assert not alive(marker)
    assert not list(left.iterdir())


async def test_one_that_writes_without_end_is_ended(unsafe: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_MOST_BYTES", 1000)
    error = await failing("yes", unsafe_agent=unsafe)
    assert (error.kind, error.message.rpartition(": ")[2]) == ("malformed", "it wrote more than 1000 bytes")
    assert await told("sh", "-c", "head -c 1000 /dev/zero", unsafe_agent=unsafe) == "\0" * 1000
    assert (await failing("sh", "-c", "head -c 1001 /dev/zero", unsafe_agent=unsafe)).kind == "malformed"


async def test_what_it_leaves_running_ends_with_it(unsafe: bool, marker: str) -> None:
    begun = time.monotonic()
    script = f"sleep {marker} & (setsid sh -c 'sleep {marker} & sleep {marker}' &) ; sleep 0.2; echo done"
    assert await told("sh", "-c", script, unsafe_agent=unsafe) == "done\n"
    assert time.monotonic() - begun < 60
    assert not alive(marker)


async def test_it_gets_no_variable_but_those_that_are_named(unsafe: bool) -> None:
    environ = dict(os.environ) | {"OPENAI_API_KEY": "planted-secret", "WANTED": "yes"}
    text = await told("env", unsafe_agent=unsafe, environ=environ, agent_env=("WANTED",))
    found = dict(line.split("=", 1) for line in text.splitlines() if not line.startswith(("PWD=", "OLDPWD=", "SHLVL=", "_=")))
    assert sorted(found) == ["HOME", "LANG", "PATH", "TMPDIR", "USER", "WANTED"]
    assert found["WANTED"] == "yes"
    assert "planted" not in text
    if not unsafe:
        assert (found["HOME"], found["TMPDIR"]) == ("/box", "/tmp")


async def test_what_it_was_given_does_not_come_back_and_nothing_else_is_touched(unsafe: bool) -> None:
    environ = dict(os.environ) | {"PROVIDER_PASS": "planted-secret"}
    text = await told(
        "sh", "-c", 'echo "a basic algorithm: $PROVIDER_PASS"', unsafe_agent=unsafe, environ=environ, agent_env=("PROVIDER_PASS",)
    )
    assert text == "a basic algorithm: [secret]\n"


# --- when it is stopped from outside


async def test_cancelled_at_any_point_it_leaves_nothing(unsafe: bool, left: Path, marker: str) -> None:
    model = build("sh", "-c", f"sleep {marker} & sleep {marker}", unsafe_agent=unsafe)
    for delay in (0.0, 0.005, 0.02, 0.05, 0.1):
        call = asyncio.create_task(model.complete(ask()))
        await asyncio.sleep(delay)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    call = asyncio.create_task(model.complete(ask()))
    await until(lambda: alive(marker), 30)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not alive(marker)
    await until(lambda: not list(left.iterdir()))


@pytest.mark.parametrize("victim", ["us", "keeper"])
async def test_when_somebody_is_killed_nothing_is_left(unsafe: bool, left: Path, marker: str, victim: str) -> None:
    if unsafe and victim == "keeper":
        pytest.skip("without a box nobody is left to end the agent then")
    code = f"""
import asyncio, sys, tempfile
tempfile.tempdir = {str(left)!r}
from agentopt.core.chat import ChatRequest, Message
from agentopt.llm.choose import ModelSettings, ModelSpec, build_model
model = build_model(ModelSpec("command", "sh -c 'sleep {marker} & setsid sleep {marker}'"), ModelSettings(unsafe_agent={unsafe}))
asyncio.run(model.complete(ChatRequest((Message("user", "?"),))))
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    asker = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE)  # noqa: ASYNC220
    try:
        await until(lambda: len(alive(marker)) == 2, 30)
        if victim == "us":
            asker.kill()
        else:
            (keeper,) = Path(f"/proc/{asker.pid}/task/{asker.pid}/children").read_text().split()
            os.kill(int(keeper), signal.SIGKILL)
        await until(lambda: not alive(marker), 30)
        await until(lambda: asker.poll() is not None if victim == "keeper" else not list(left.iterdir()), 30)
    finally:
        asker.kill()
        _, said = asker.communicate()
    assert victim == "us" or b"exit status -9" in said


# --- the box


@pytest.mark.usefixtures("box")
async def test_it_reads_nothing_of_the_users(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("planted")
    places = [tmp_path / "mine", Path.home(), Path(__file__), ROOT, "/etc/shadow", "/etc/ssl/private", "/var", "/run", "/sys", "/root"]
    text = await told("sh", "-c", 'for place; do [ -e "$place" ] && echo "$place"; done; echo end', "sh", *map(str, places))
    assert text == "end\n"


@pytest.mark.usefixtures("box")
async def test_it_writes_nowhere_but_in_its_folder_and_tmp() -> None:
    places = ["/usr", "/etc", "/", "/proc/sys/kernel", "/bin", "/dev"]
    script = 'for at; do (echo > "$at/agentopt-test") 2>/dev/null && echo "$at"; done; echo x > /proc/sys/kernel/domainname; echo end'
    assert await told("sh", "-c", script, "sh", *places, "/tmp", "/dev/shm", ".") == "/tmp\n/dev/shm\n.\nend\n"


@pytest.mark.usefixtures("box")
async def test_it_cannot_open_a_setting_of_the_kernel_for_writing() -> None:
    """Of root's agents too: of these files root is the owner, and no capability is asked for. Nothing is written here."""
    places = "/proc/sys /proc/irq /proc/bus /proc/fs /proc/acpi /proc/scsi /proc/sysrq-trigger"
    script = f'find {places} -type f 2>/dev/null | while read -r at; do (: >> "$at") 2>/dev/null && echo "$at"; done; echo end'
    assert await told("sh", "-c", script) == "end\n"


@pytest.mark.usefixtures("box")
async def test_it_sees_no_other_process_and_has_no_rights() -> None:
    script = (
        "ls /proc | grep -c '^[0-9]'; grep -E 'CapEff|NoNewPrivs' /proc/self/status; unshare -U true 2>/dev/null && echo namespace; id -un"
    )
    count, *rest = (await told("sh", "-c", script)).splitlines()
    assert int(count) <= 6
    assert [line.split() for line in rest] == [["CapEff:", "0" * 16], ["NoNewPrivs:", "1"], ["agent"]]


@pytest.mark.usefixtures("box")
async def test_what_is_allowed_is_read_or_written(tmp_path: Path) -> None:
    for name in ("read", "write", "write/only"):
        (tmp_path / name).mkdir()
    (tmp_path / "read" / "a").write_text("from outside")
    (tmp_path / "link").symlink_to("read")
    allow = (str(tmp_path / "link"), f"{tmp_path}/write:rw", str(tmp_path / "write/only"))
    loop = "for at in read link write write/only; do (echo x > $at/b) 2>/dev/null && echo $at; done"
    script = f"cat {tmp_path}/link/a; cd {tmp_path}; {loop}; ls"
    assert await told("sh", "-c", script, agent_allow=allow) == "from outsidewrite\nlink\nread\nwrite\n"
    assert (tmp_path / "write" / "b").read_text() == "x\n"


@pytest.mark.usefixtures("box")
async def test_the_network_is_the_machines() -> None:
    """As of an agent that asks its provider, with a key from the environment."""
    code = """
import json, os, urllib.request
body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
headers = {"Authorization": "Bearer " + os.environ["MY_KEY"], "Content-Type": "application/json"}
reply = urllib.request.urlopen(urllib.request.Request(os.environ["MY_URL"] + "/chat/completions", body, headers), timeout=20)
print(json.load(reply)["choices"][0]["message"]["content"])
"""
    prefixes = tuple({sys.prefix, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable))} - {"/usr", "/usr/bin", "/usr/local"})
    with FakeLLM() as server:
        environ = dict(os.environ) | {"MY_KEY": "planted-secret-of-a-test", "MY_URL": server.url}
        text = await told(*PYTHON, code, environ=environ, agent_env=("MY_KEY", "MY_URL"), agent_allow=prefixes)
    assert text == "ok\n"
    assert server.requests[0].headers["authorization"] == "Bearer planted-secret-of-a-test"


# --- what cannot be run


def sentence(*words: str, **settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build(*words, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_command_that_cannot_be_run_is_one_sentence_with_the_fix(tmp_path: Path, left: Path) -> None:
    with pytest.raises(ConfigError, match=r"command:a 'b: the command cannot be split into words .* check its quotes"):
        build_model(ModelSpec("command", "a 'b"))
    assert "there is no program 'no-such-agent' to start; install it" in sentence("no-such-agent", "-p")
    (tmp_path / "plain").write_text("")
    assert "there is no program" in sentence(str(tmp_path / "plain"))
    with pytest.raises(ConfigError, match="there is no program '' to start"):
        build_model(ModelSpec("command", "''"))
    assert "--agent-allow /no/such: there is no such file or folder" in sentence("cat", agent_allow=("/no/such",))
    assert "--agent-allow /: that cannot be given to an agent" in sentence("cat", agent_allow=("/",))
    assert "--agent-env NOT_SET: the variable is not set" in sentence("cat", agent_env=("NOT_SET",), environ={"PATH": "/bin:/usr/bin"})
    assert not list(left.iterdir())


def test_without_bubblewrap_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_box, "find_bwrap", lambda: None)
    assert "not installed: apt-get install bubblewrap" in sentence("cat")
    assert sentence("cat").endswith("or give --unsafe-agent")
    assert build("cat", unsafe_agent=True).name == "command:cat"


def test_a_machine_that_makes_no_boxes_is_found_out_before_the_first_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(agent_box, "find_bwrap", lambda: str(fake))
    assert "its box cannot be made here (bwrap: No permissions to create new namespace); user namespaces" in sentence("cat")
    fake.write_text("#!/bin/sh\nexit 4\n")
    assert "(exit status 4)" in sentence("cat")
    fake.unlink()
    assert "No such file" in sentence("cat")


@pytest.mark.usefixtures("box")
async def test_a_program_of_the_users_has_to_be_allowed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    agent = home / "agent"
    agent.write_text("#!/bin/sh\necho here; helper\n")
    agent.chmod(0o755)
    shutil.copy("/bin/echo", home / "helper")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "agent").symlink_to(agent)
    assert f"its box does not show {agent}; give --agent-allow {home}" in sentence(str(agent))
    assert f"its box does not show {agent}" in sentence(
        "agent", environ={"PATH": str(tmp_path / "bin")}, agent_allow=(str(tmp_path / "bin"),)
    )
    allow = (str(home), str(tmp_path / "bin"))
    assert await told(str(agent), agent_allow=allow) == "here\n\n", "the folder of a program is on its PATH"


async def test_a_program_that_went_meanwhile(unsafe: bool, tmp_path: Path) -> None:
    agent = tmp_path / "agent"
    agent.write_text("#!/bin/sh\n")
    agent.chmod(0o755)
    model = build(str(agent), unsafe_agent=unsafe, agent_allow=(str(tmp_path),))
    agent.unlink()
    with pytest.raises(ModelError, match="No such file or directory"):
        await model.complete(ask())


def test_what_lies_below_opt_is_shown_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "realpath", lambda path: {"/usr/bin/agent": "/opt/agent/bin/agent"}.get(path, path))
    assert agent_box.is_visible("/usr/bin/agent", ())
    assert "--ro-bind /opt/agent /opt/agent" in " ".join(agent_box.arguments("/tmp/x", (), ["/usr/bin/agent"]))
    assert not agent_box.is_visible("/opt", ())


def test_nothing_of_the_environment_shows_in_a_repr() -> None:
    agent = command.find_agent("cat", (), ("MY_KEY",), True, {"PATH": "/bin:/usr/bin", "MY_KEY": "planted-secret"})
    assert "planted" not in repr(agent)
    assert "planted" not in repr(command.CommandModel("cat", agent, 1.0))
