"""What a box may read at L2: the system's libraries, Python and the modules of the task. Never where answers, logs or other tasks lie."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from agentopt.core.task import Task

__all__ = ["readable_paths", "seen_places", "without"]

_PACKAGE = Path(__file__).resolve().parents[1]
_SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/opt/conda")
_SETTINGS = ("/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/os-release", "/etc/ssl/openssl.cnf")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
# what numeric libraries ask about the machine
_MACHINE = ("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu", "/sys/devices/system/node")


def readable_paths(task: Task) -> list[str]:
    """Real paths of files and folders; a folder stands for all that is in it."""
    package = str(_PACKAGE)
    wanted = [*_SYSTEM, *_SETTINGS, *_DEVICES, *_MACHINE, sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, package]
    wanted += [entry for entry in sys.path if os.path.basename(entry) in ("site-packages", "dist-packages")]
    for name in ("cloudpickle", *task.imports):
        wanted += _places(name.partition(".")[0])
    places = _real(wanted)
    hidden = _real([os.path.join(package, "_bundled"), *([str(task.folder)] if task.folder else [])])
    hidden += [folder for folder in _real([os.curdir]) if folder not in places]  # where runs are logged
    return _outermost([part for place in places for part in without(place, hidden)])


def seen_places(seen: Sequence[str | tuple[str, str]]) -> list[tuple[str, str]]:
    """``(source, place)`` of what programs see beside the system's: each path at its own place and, if that is a link, at its real one."""
    paths = [path for path in seen if isinstance(path, str)]
    places = {place: os.path.realpath(path) for path in paths for place in (os.path.abspath(path), os.path.realpath(path))}
    places |= {place: os.path.realpath(source) for source, place in (pair for pair in seen if not isinstance(pair, str))}
    kept: dict[str, str] = {"/usr": "/usr"}
    for place, source in sorted(places.items(), key=lambda found: found[0].split(os.sep)):
        above = [other for other in kept if Path(place).is_relative_to(other)]
        if not any(os.path.realpath(os.path.join(kept[other], os.path.relpath(place, other))) == source for other in above):
            kept[place] = source
    del kept["/usr"]
    return [(source, place) for place, source in kept.items() if os.path.exists(source)]


def _real(paths: Iterable[str]) -> list[str]:
    return [os.path.realpath(path) for path in paths if os.path.exists(path)]


def _places(package: str) -> Sequence[str]:
    """The package's own folders, or the file that the module is."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return ()
    if spec is None:
        return ()
    if spec.submodule_search_locations:
        return [os.path.abspath(location) for location in spec.submodule_search_locations]
    return [os.path.abspath(spec.origin)] if spec.has_location and spec.origin else ()


def without(path: str, hidden: Iterable[str]) -> Iterator[str]:
    """``path``, or where something hidden lies in it, the parts of it that do not hold that."""
    inside = [other for other in hidden if Path(other).is_relative_to(path)]
    if not inside:
        yield path
    elif path not in inside:
        for entry in os.scandir(path):
            if not entry.is_symlink():
                yield from without(entry.path, inside)


def _outermost(paths: Sequence[str]) -> list[str]:
    """Without those that lie in another one."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: path.split(os.sep)):
        if not kept or not Path(path).is_relative_to(kept[-1]):
            kept.append(path)
    return kept
