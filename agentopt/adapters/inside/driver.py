"""Judges one candidate with the evaluator of a folder: a program of its own, started with its orders as JSON.

It works in a copy of the folder that may be written to. Whatever the evaluator prints goes to stderr; the last thing on stdout is one
JSON object: ``metrics`` and ``artifacts``, or ``failure`` with the reason.
"""

from __future__ import annotations

import glob
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from .evaluation import evaluate, plain
from .ground import check_imports, fix_chance, is_missing, mirror, place, say_missing, use_standins

__all__ = ["captured", "judge", "last_object", "main", "read_printed"]

_HERE = Path(__file__).resolve().parent


def main(text: str, box: str = "/box", work: str | None = None) -> None:
    """Never returns: what an evaluator leaves running is not waited for."""
    orders = json.loads(text)
    answer = os.dup(1)
    os.dup2(2, 1)
    status = 0
    try:
        said = judge(orders, Path(box), Path(work or tempfile.mkdtemp(prefix="work-")))
        os.write(answer, b"\n" + json.dumps(plain(said)).encode() + b"\n")
    except BaseException as error:
        status = _tell(error)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def judge(orders: Any, box: Path, work: Path | None) -> dict[str, Any]:
    """The verdict as a mapping. Without ``work`` the current folder is the copy to work in. Raises what the evaluator raises."""
    use_standins(os.environ)
    more = [os.path.dirname(sys.executable), *sorted(glob.glob("/usr/local/*/bin"))]
    os.environ["PATH"] = os.pathsep.join([*more, os.environ.get("PATH", os.defpath)])
    for name in ("USER", "LOGNAME"):  # the box's user has no name of its own
        os.environ.setdefault(name, "user")
    folder = mirror(Path(orders["folder"]), orders["up"], work) if work else Path.cwd()
    program = place(orders, box, folder)
    return _KINDS[orders["kind"]](orders, folder, program)


def _tell(error: BaseException) -> int:
    """The exit status for it; what it was goes to stderr, without our own frames."""
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else 1 if error.code else 0
        _say(error.code if isinstance(error.code, str) else f"it ended itself with status {status} and gave no result")
        return status or 1
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)
    if isinstance(error, ImportError) and error.name and is_missing(error.name):
        _say(say_missing(error.name))
    return 1


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _is_ours(file: str) -> bool:
    return file.startswith("<frozen ") or Path(file).resolve().parent == _HERE or os.path.basename(file) == "runpy.py"


def results_folder(orders: Any, folder: Path, program: Path) -> dict[str, Any]:
    """A script with ``--program_path`` and ``--results_dir`` that writes metrics.json and correct.json."""
    script = folder / orders["evaluator"]
    check_imports(script, program)
    results = Path(tempfile.mkdtemp(prefix="results-"))
    os.chdir(str(folder))
    status = run_script(script, ["--program_path", str(program), "--results_dir", str(results), *orders["words"]])
    metrics, correct = (_json_of(results / name) for name in ("metrics.json", "correct.json"))
    if correct is None:
        return {"failure": "{} wrote no correct.json{}".format(orders["evaluator"], f" and exited with {status}" if status else "")}
    if not correct.get("correct"):
        return {"failure": str(correct.get("error") or (metrics and metrics.get("text_feedback")) or "the result is not correct")}
    return {"metrics": metrics or {}, "artifacts": {}}


def run_script(script: Path, words: list[str]) -> int:
    """As ``python SCRIPT WORDS``, but here; the status it would have exited with."""
    import runpy

    sys.argv = [str(script), *words]
    sys.path.insert(0, str(script.parent))
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            _say(end.code)
            return 1
        return end.code or 0
    return 0


def _json_of(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def printed(orders: Any, folder: Path, program: Path) -> dict[str, Any]:
    """A script that prints the score as its last line, as ReEvo reads it: stdout and stderr together, and no line may begin a traceback."""
    script = folder / orders["evaluator"]
    root = Path(folder, *[".."] * orders["up"]).resolve()
    outputs = root / "outputs"
    if outputs.is_symlink():
        outputs.unlink()
    start = outputs / folder.name / "run"
    start.mkdir(parents=True)
    os.chdir(str(start))
    sys.path.append(str(root))
    fix_chance(folder)
    words = [word.replace("{root}", str(root)) for word in orders["words"]]
    return read_printed(*captured(script, words, (1, 2)))


def captured(script: Path, words: list[str], descriptors: tuple[int, ...]) -> tuple[str, int]:
    """What a script writes to the descriptors, and its status. All of it goes to stderr as well."""
    kept = {descriptor: os.dup(descriptor) for descriptor in descriptors}
    with tempfile.TemporaryFile() as file:
        for descriptor in descriptors:
            os.dup2(file.fileno(), descriptor)
        try:
            status = run_script(script, words)
        except Exception as error:
            status = _tell(error)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        for descriptor, before in kept.items():
            os.dup2(before, descriptor)
        file.seek(0)
        text = file.read().decode(errors="replace")
    _say(text)
    return text, status


def read_printed(text: str, status: int = 0) -> dict[str, Any]:
    lines = text.split("\n")
    begun = [number for number, line in enumerate(lines) if line.startswith("Traceback")]
    if begun:
        return {"failure": "\n".join(lines[begun[0] :]).strip()}
    try:
        score = float(lines[-2])
    except (ValueError, IndexError):
        ended = f" and exited with {status}" if status else ""
        return {"failure": f"the last line is to be the score{ended}; the end of what was printed: {text.strip()[-500:]}"}
    return {"metrics": {"score": score}, "artifacts": {"printed": "\n".join(lines[:-2])[-2000:]}}


def command(orders: Any, folder: Path, program: Path) -> dict[str, Any]:
    """A command in the folder; the last line of its stdout is a JSON object."""
    os.chdir(str(folder))
    words = [word.replace("{program}", str(program)).replace("{python}", sys.executable) for word in orders["words"]]
    try:
        text, status = captured(folder / words[1], words[2:], (1,)) if orders["fork_free"] else _started(words)
    except OSError as error:
        return {"failure": f"{words[0]} cannot be started in the box: {error.strerror}"}
    if status:
        sys.exit(status)
    said = last_object(text)
    if said is None:
        return {"failure": f"the last line is to be a JSON object; the end of what was printed: {text.strip()[-500:]}"}
    return said


def _started(words: list[str]) -> tuple[str, int]:
    import subprocess

    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    text = done.stdout.decode(errors="replace")
    _say(text)
    return text, done.returncode if done.returncode >= 0 else 128 - done.returncode


def reported(orders: Any, folder: Path, program: Path) -> dict[str, Any]:
    """As ``command``, in the form of containers: ``status``, ``combined_score``, ``metrics`` and ``artifacts``."""
    said = command(orders, folder, program)
    if "failure" in said:
        return said
    metrics: Any = said.get("metrics") or {}
    artifacts: Any = said.get("artifacts") or {}
    if said.get("status", "error") != "success":
        reason = said.get("error") or artifacts.get("error") or artifacts.get("feedback") or artifacts.get("stderr")
        return {"failure": str(reason or f"the evaluator gave the status {said.get('status')}")}
    if "combined_score" not in metrics and "combined_score" in said:
        metrics["combined_score"] = said["combined_score"]
    return {"metrics": metrics, "artifacts": artifacts}


def own_json(orders: Any, folder: Path, program: Path) -> dict[str, Any]:
    said = command(orders, folder, program)
    return said if "failure" in said else {"metrics": said, "artifacts": {}}


def last_object(text: str) -> dict[str, Any] | None:
    """The object on the last line that is not empty, or the whole text as one."""
    for piece in (([line for line in text.splitlines() if line.strip()] or [""])[-1], text):
        try:
            found: Any = json.loads(piece)
        except ValueError:
            continue
        if isinstance(found, dict):
            return {**found}
    return None


_KINDS = {"evaluate": evaluate, "results": results_folder, "printed": printed, "reported": reported, "json": own_json}
