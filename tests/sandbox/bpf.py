"""What the kernel would answer: an interpreter of the few classic BPF instructions that filters of system calls are made of.

So a filter for another machine is tested here too. Sources: linux/bpf_common.h, linux/seccomp.h (struct seccomp_data).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

__all__ = ["AUDIT", "Verdict", "verdict"]

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "i386": 0x40000003, "arm": 0x40000028}
Verdict = str
"""``"allow"``, ``"kill"``, the name of an error, like ``"EPERM"``, or ``"pretend"``: nothing is done and success is said."""

_LOAD, _JUMP, _AND, _RETURN = 0x20, 0x05, 0x54, 0x06
_JUMPS = {0x15: lambda a, k: a == k, 0x35: lambda a, k: a >= k, 0x45: lambda a, k: bool(a & k)}


def verdict(code: bytes, machine: str, number: int, arguments: Sequence[int] = ()) -> Verdict:
    """The answer to call ``number``; arguments that are not given are 0. Raises AssertionError for what the kernel would not load."""
    full = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, AUDIT[machine], 0, *(value & 0xFFFFFFFFFFFFFFFF for value in full))
    program = [struct.unpack_from("<HBBI", code, at) for at in range(0, len(code), 8)]
    assert len(program) <= 4096, "the kernel takes no longer ones"
    value = at = 0
    while True:
        operation, if_true, if_false, constant = program[at]
        at += 1
        if operation == _LOAD:
            assert constant % 4 == 0
            (value,) = struct.unpack_from("<I", data, constant)
        elif operation == _AND:
            value &= constant
        elif operation == _RETURN:
            return _named(constant)
        elif operation == _JUMP:
            at += constant
        else:
            at += if_true if _JUMPS[operation](value, constant) else if_false


def _named(result: int) -> Verdict:
    action, rest = result & 0xFFFF0000, result & 0xFFFF
    if action == 0x00050000:
        return errno.errorcode[rest] if rest else "pretend"
    return {0x7FFF0000: "allow", 0x80000000: "kill"}[action]
