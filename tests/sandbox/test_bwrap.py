"""What a whole program is shown of the machine, word by word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agentopt.core.errors import TaskError
from agentopt.sandbox import bwrap
from agentopt.sandbox.bwrap import View, arguments, check_words, environment


def shown(view: View, *words: str) -> list[list[str]]:
    """The arguments before the program's, cut into flags with what belongs to them."""
    found = arguments(view, words, {"--seccomp": 7})
    cut = found.index("--")
    assert found[cut + 1 :] == list(words)
    flags: list[list[str]] = []
    for word in found[:cut]:
        flags += [[word]] if word.startswith("--") else []
        if not word.startswith("--"):
            flags[-1].append(word)
    return flags


def test_the_private_root_is_read_only_but_for_small_places():
    flags = shown(View("/scratch", 1234), "./solve")
    assert ["--ro-bind", "/scratch", "/box"] in flags
    assert ["--ro-bind", "/usr", "/usr"] in flags
    assert flags.index(["--remount-ro", "/"]) > flags.index(["--ro-bind", "/scratch", "/box"])
    for place in ("/tmp", "/dev/shm"):
        assert flags[flags.index(["--tmpfs", place]) - 1] == ["--size", "1234"]
    for flag in ("--unshare-all", "--disable-userns", "--die-with-parent", "--new-session"):
        assert [flag] in flags
    assert ["--cap-drop", "ALL"] in flags
    assert ["--seccomp", "7"] in flags
    assert ["--tmpfs", "/proc/1"] in flags
    sources = {flag[1] for flag in flags if "bind" in flag[0]}
    assert not [source for source in sources if source.startswith(("/home", "/root", "/etc/")) and source not in bwrap._SETTINGS]


def test_a_compiler_may_write_its_folder():
    assert ["--bind", "/scratch", "/box"] in shown(View("/scratch", 1, writable=True), "g++")


def test_what_was_built_sees_libraries_and_no_other_program():
    flags = shown(View("/scratch", 1, built=True), "./solve")
    bound = [flag[1] for flag in flags if flag[0] == "--ro-bind"]
    assert "/usr" not in bound
    assert "/usr/bin" not in bound
    assert "/usr/include" not in bound
    assert "/usr/lib" in bound
    if os.path.isdir("/usr/lib/gcc"):
        assert ["--tmpfs", "/usr/lib/gcc"] in flags


def test_what_was_built_may_be_started_by_one_program_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = os.path.realpath("/bin/sh")
    flags = shown(View("/scratch", 1, built=True), "sh", "./solve")
    assert ["--ro-bind", real, real] in flags
    assert ["--symlink", real, bwrap._tool("sh")] in flags
    monkeypatch.setattr(bwrap, "_tool", lambda word: "/usr/bin/java")
    monkeypatch.setattr(bwrap.os.path, "realpath", lambda path: "/usr/lib/jvm/bin/java")
    flags = shown(View("/scratch", 1, built=True), "java", "Main")
    assert ["--symlink", "/usr/lib/jvm/bin/java", "/usr/bin/java"] in flags
    assert ["--ro-bind", "/usr/lib/jvm/bin/java", "/usr/lib/jvm/bin/java"] not in flags


def test_bin_and_lib_are_as_the_machine_has_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "linked").symlink_to("usr/bin")
    (tmp_path / "plain").mkdir()
    paths = [str(tmp_path / name) for name in ("linked", "plain", "missing")]
    monkeypatch.setattr(bwrap, "_LINKED", paths)
    flags = shown(View("/scratch", 1), "./solve")
    assert ["--symlink", "usr/bin", paths[0]] in flags
    assert ["--ro-bind", paths[1], paths[1]] in flags
    assert not [flag for flag in flags if paths[2] in flag]


def test_a_tool_below_opt_is_bound_with_its_folder():
    flags = shown(View("/scratch", 1), "/opt/tool/bin/cc", "x.c")
    assert ["--ro-bind", "/opt/tool", "/opt/tool"] in flags
    assert not [flag for flag in shown(View("/scratch", 1), "./cc") if "/opt" in " ".join(flag)]


def test_the_environment_holds_nothing_of_the_users(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AGENTOPT_KEY", "secret")
    found = environment(42)
    assert found["AGENTOPT_RNG_SEED"] == "42"
    assert found["HOME"] == found["TMPDIR"] == "/tmp"
    assert "secret" not in found.values()


def test_programs_that_boxes_see():
    check_words("t", "build", [])
    check_words("t", "command", ["./solve"])
    check_words("t", "command", ["bin/solve"])
    check_words("t", "command", ["/box/solve"])
    check_words("t", "command", ["sh", "solve.sh"])
    check_words("t", "command", ["/bin/sh"])


def test_programs_that_boxes_do_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(TaskError, match=r"task 't': build starts 'no-such-tool', which is not installed on this machine"):
        check_words("t", "build", ["no-such-tool"])
    with pytest.raises(TaskError, match=r"build starts '/usr/bin/no-such-tool', which is not installed"):
        check_words("t", "build", ["/usr/bin/no-such-tool"])
    own = tmp_path / "own-compiler"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    with pytest.raises(TaskError, match=rf"build starts {own}, which boxes do not see; install it below /usr or /opt"):
        check_words("t", "build", [str(own)])
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(TaskError, match=rf"command starts {own}, which boxes do not see"):
        check_words("t", "command", ["own-compiler"])


def test_what_a_program_sees_more_lies_over_its_own_tmp():
    flags = shown(View("/scratch", 1, sees=[("/tmp/env", "/tmp/env"), ("/data", "/here")]), "./solve")
    assert flags.index(["--ro-bind", "/tmp/env", "/tmp/env"]) > flags.index(["--tmpfs", "/tmp"])
    assert ["--ro-bind", "/data", "/here"] in flags


def test_a_program_in_what_is_seen_can_be_started(tmp_path):
    check_words("task", "command", [str(tmp_path / "bin" / "python")], [str(tmp_path)])
