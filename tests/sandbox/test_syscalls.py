"""The numbers of system calls, against the kernel's own headers where these are installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agentopt.sandbox import seccomp
from agentopt.sandbox.syscalls import MACHINES
from tests.sandbox.bpf import AUDIT

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
BY_ARGUMENTS = "clone clone3 kill tkill tgkill prlimit64 sched_setaffinity open openat openat2 fcntl ioctl prctl socketpair sendto socket"
NAMED = {*seccomp._PYTHON.split(), *seccomp._PROGRAM.split(), *BY_ARGUMENTS.split()}


def header(machine: str) -> dict[str, int]:
    """name -> number; aliases such as ``#define __NR_fcntl __NR3264_fcntl`` are followed."""
    if not HEADERS[machine].exists():
        pytest.skip(f"{HEADERS[machine]} is not installed")
    given = dict(re.findall(r"#define\s+(__NR\w*)\s+(\w+)", HEADERS[machine].read_text()))
    found = {name: given.get(value, value) for name, value in given.items()}
    return {name.removeprefix("__NR_"): int(value) for name, value in found.items() if name.startswith("__NR_") and value.isdigit()}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_numbers_are_those_of_the_kernel(machine):
    theirs = header(machine)
    assert len(theirs) > 200
    newest = max(theirs.values())
    ours = {name: number for name, number in MACHINES[machine].numbers.items() if number <= newest}
    assert {name: theirs.get(name) for name in ours} == ours


@pytest.mark.parametrize("machine", MACHINES)
def test_no_call_that_a_filter_names_was_forgotten(machine):
    assert {name for name in NAMED if name in header(machine)} <= set(MACHINES[machine].numbers)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_call_in_the_table_is_named_by_a_filter(machine):
    assert set(MACHINES[machine].numbers) <= NAMED
    assert len(set(MACHINES[machine].numbers.values())) == len(MACHINES[machine].numbers)
    assert MACHINES[machine].audit == AUDIT[machine]
