"""Judges one candidate with the evaluator of a folder: a program of its own, started with its orders as JSON.

It works in a copy of the folder that may be written to. Whatever the evaluator prints goes to stderr; the last thing on stdout is one
JSON object: ``metrics``, ``artifacts``, or ``failure`` with the reason.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != os.path.dirname(os.path.abspath(__file__))]
_HERE = Path(__file__).resolve().parent
_COPIED_BYTES, _COPIED_FILES = 1 << 20, 2000
_LEFT_OUT = {"__pycache__", ".git", ".hg", ".venv", "venv", "node_modules"}
_STANDINS = ("openevolve", "skydiscover", "shinka")


def main(text, box="/box", work=None):
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


def judge(orders, box, work):
    """The verdict as a mapping. Raises what the evaluator raises."""
    use_standins(os.environ)
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")
    folder = mirror(Path(orders["folder"]), orders["up"], work)
    program = place(orders, box, folder)
    return _KINDS[orders["kind"]](orders, folder, program)


def _tell(error):
    """The exit status for it; what it was goes to stderr, without our own frames."""
    if isinstance(error, SystemExit) and not error.code:
        print("the evaluator ended itself before it gave a result", file=sys.stderr)
        return 1
    trace = error.__traceback__
    while trace is not None and Path(trace.tb_frame.f_code.co_filename).resolve().parent == _HERE:
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)
    if isinstance(error, ImportError) and error.name and is_missing(error.name):
        print(say_missing(error.name), file=sys.stderr)
    return 1


def say_missing(name):
    package = name.partition(".")[0]
    fix = "install it there, or name an environment that has it with --python VENV"
    return f"the package {package!r} is missing in {sys.executable}: {fix}"


def is_missing(name):
    from importlib.util import find_spec

    try:
        return find_spec(name.partition(".")[0]) is None
    except (ImportError, ValueError):
        return False


# --- the folder


def use_standins(environ):
    """A small module of ours takes the place of each package that evaluators import for a helper, if it is not installed."""
    places = [str(_HERE / "standins" / name) for name in _STANDINS if is_missing(name)]
    sys.path += places
    before = environ.get("PYTHONPATH")
    environ["PYTHONPATH"] = os.pathsep.join([*([before] if before else []), *places])


def mirror(folder, up, work):
    """The folder's copy in ``work``. Large files, and what lies beside it and its ``up`` parents, are links to the originals."""
    target = work
    below = [*reversed(folder.parents[:up]), folder]
    for above, inner in zip(below, below[1:]):
        target = target / (above.name or "root")
        target.mkdir()
        for entry in os.listdir(str(above)):
            if entry != inner.name and entry not in _LEFT_OUT:
                (target / entry).symlink_to(above / entry)
    target = target / folder.name
    _copy(folder, target, [_COPIED_FILES])
    return target


def _copy(source, target, left):
    import shutil

    target.mkdir()
    for entry in sorted(os.scandir(str(source)), key=lambda found: found.name):
        place = target / entry.name
        if entry.name in _LEFT_OUT:
            continue
        if entry.is_dir(follow_symlinks=False) and left[0] > 0:
            _copy(Path(entry.path), place, left)
        elif entry.is_file() and entry.stat().st_size <= _COPIED_BYTES and left[0] > 0:
            left[0] -= 1
            shutil.copy(entry.path, str(place))
        else:
            place.symlink_to(entry.path)


def place(orders, box, folder):
    """The candidate's file or folder: where the folder has its own, or in a folder that holds nothing else."""
    files = orders["files"]
    if orders["in_place"]:
        for name, inside in files.items():
            target = folder / inside
            if target.is_symlink():
                target.unlink()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((box / name).read_bytes())
        return folder / next(iter(files.values()))
    base = Path(tempfile.mkdtemp(prefix="candidate-"))
    for name, inside in files.items():
        target = base / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((box / name).read_bytes())
    return base / orders["passed"]


# --- the kinds of evaluators


def evaluate(orders, folder, program):
    """``evaluate(path)``, or ``evaluate_stage1`` to ``3`` as long as each reaches its threshold."""
    script = folder / orders["evaluator"]
    check_imports(script, program)
    module = load(script)
    if orders["thresholds"] is not None and hasattr(module, "evaluate_stage1"):
        return cascade(module, str(program), orders["thresholds"])
    if not hasattr(module, "evaluate"):
        return {"failure": "{} has no function evaluate(path)".format(orders["evaluator"])}
    return result_of(call(module.evaluate, str(program)))


def load(script):
    import importlib.util

    os.chdir(str(script.parent))
    sys.path.insert(0, str(script.parent))
    sys.argv = [str(script)]
    spec = importlib.util.spec_from_file_location("evaluation_module", str(script))
    module = importlib.util.module_from_spec(spec)
    sys.modules["evaluation_module"] = module
    spec.loader.exec_module(module)
    return module


def call(function, path):
    import asyncio
    import inspect

    result = function(path)
    if not inspect.isawaitable(result):
        return result

    async def wait():
        return await result

    return asyncio.run(wait())


def result_of(result):
    """From a dict of metrics, or anything with ``metrics`` and ``artifacts``."""
    if isinstance(result, dict):
        metrics = dict(result)
        artifacts = metrics.pop("artifacts", None)
        return {"metrics": metrics, "artifacts": artifacts if isinstance(artifacts, dict) else {}}
    if isinstance(getattr(result, "metrics", None), dict):
        return {"metrics": dict(result.metrics), "artifacts": dict(getattr(result, "artifacts", None) or {})}
    return {"failure": f"evaluate gave a {type(result).__name__}, not a dict of numbers or an EvaluationResult"}


def cascade(module, path, thresholds):
    """Later stages add to what earlier ones found; one that raises keeps what is there."""
    found = result_of(call(module.evaluate_stage1, path))
    for number, threshold in zip((2, 3), thresholds):
        stage = getattr(module, f"evaluate_stage{number}", None)
        if "failure" in found or stage is None or not _reaches(found["metrics"], threshold):
            return found
        try:
            more = result_of(call(stage, path))
        except Exception as error:
            found["metrics"][f"stage{number}_passed"] = 0.0
            found["artifacts"].update({"failure_stage": f"stage{number}", "stderr": str(error), "traceback": traceback.format_exc()})
            return found
        if "failure" in more:
            return more
        numbers = [both for part in (found, more) for both in part["metrics"].items() if both[0] != "error" and _is_number(both[1])]
        found = {"metrics": dict(numbers), "artifacts": dict(found["artifacts"], **more["artifacts"])}
    return found


def _is_number(value):
    return isinstance(plain(value), (int, float))


def _reaches(metrics, threshold):
    if _is_number(metrics.get("combined_score")):
        return metrics["combined_score"] >= threshold
    numbers = [plain(value) for name, value in metrics.items() if name != "error" and _is_number(value)]
    return bool(numbers) and sum(numbers) / len(numbers) >= threshold


def results_folder(orders, folder, program):
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
        return {"failure": str(correct.get("error") or (metrics or {}).get("text_feedback") or "the result is not correct")}
    return {"metrics": metrics or {}, "artifacts": {}}


def run_script(script, words):
    """As ``python SCRIPT WORDS``, but here; the status it would have exited with."""
    import runpy

    sys.argv = [str(script), *words]
    sys.path.insert(0, str(script.parent))
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    return 0


def _json_of(path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def printed(orders, folder, program):
    """A script whose second last line is the score, as ReEvo reads it: stdout and stderr together, and no line may begin a traceback."""
    script = folder / orders["evaluator"]
    root = folder.parents[orders["up"] - 1] if orders["up"] else folder
    start = root / "outputs" / folder.name / "run"
    start.mkdir(parents=True)
    os.chdir(str(start))
    sys.path.append(str(root))
    path = start / "printed.txt"
    kept = os.dup(1), os.dup(2)
    with open(str(path), "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        status = run_script(script, [word.replace("{root}", str(root)) for word in orders["words"]])
    except Exception as error:
        status = _tell(error)
    for stream, descriptor in zip((sys.stdout, sys.stderr), kept):
        stream.flush()
        os.dup2(descriptor, 1 if stream is sys.stdout else 2)
    text = path.read_text(errors="replace")
    print(text, file=sys.stderr)
    return read_printed(text, status)


def read_printed(text, status=0):
    lines = text.split("\n")
    begun = [number for number, line in enumerate(lines) if line.startswith("Traceback")]
    if begun:
        return {"failure": "\n".join(lines[begun[0] :]).strip()}
    try:
        score = float(lines[-2])
    except (ValueError, IndexError):
        ended = f" and exited with {status}" if status else ""
        return {"failure": f"the second last line is to be the score{ended}; the end of what was printed: {text.strip()[-500:]}"}
    return {"metrics": {"score": score}, "artifacts": {"printed": "\n".join(lines[:-2])[-2000:]}}


def command(orders, folder, program):
    """A command in the folder; the last line of its stdout is a JSON object."""
    import subprocess

    os.chdir(str(folder))
    words = [word.replace("{program}", str(program)).replace("{python}", sys.executable) for word in orders["words"]]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    except OSError as error:
        return {"failure": f"{words[0]} cannot be started in the box: {error.strerror}"}
    text = done.stdout.decode(errors="replace")
    print(text, file=sys.stderr)
    if done.returncode:
        sys.exit(done.returncode if done.returncode > 0 else 128 - done.returncode)
    said = last_object(text)
    if said is None:
        return {"failure": f"the last line is to be a JSON object; the end of what was printed: {text.strip()[-500:]}"}
    return said


def reported(orders, folder, program):
    """As ``command``, in the form of containers: ``status``, ``combined_score``, ``metrics`` and ``artifacts``."""
    said = command(orders, folder, program)
    if "failure" in said:
        return said
    metrics, artifacts = said.get("metrics") or {}, said.get("artifacts") or {}
    if said.get("status", "error") != "success":
        reason = said.get("error") or artifacts.get("error") or artifacts.get("feedback") or artifacts.get("stderr")
        return {"failure": str(reason or "the evaluator gave the status {}".format(said.get("status")))}
    if "combined_score" not in metrics and "combined_score" in said:
        metrics["combined_score"] = said["combined_score"]
    return {"metrics": metrics, "artifacts": artifacts}


def own_json(orders, folder, program):
    said = command(orders, folder, program)
    return said if "failure" in said else {"metrics": said, "artifacts": {}}


def last_object(text):
    """The object on the last line that is not empty, or the whole text as one."""
    for piece in (([line for line in text.splitlines() if line.strip()] or [""])[-1], text):
        try:
            found = json.loads(piece)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return None


_KINDS = {"evaluate": evaluate, "results": results_folder, "printed": printed, "reported": reported, "json": own_json}


# --- helpers


def check_imports(script, program):
    """What cannot be imported is said before the evaluator hides it. Raises ImportError.

    Only plain imports at the top of the two files count, and nothing where the evaluator changes the way of imports.
    """
    text = script.read_text(errors="replace")
    if "sys.path" in text:
        return
    places = [script.parent, program.parent if program.is_file() else program, Path.cwd()]
    texts = [text] + ([program.read_text(errors="replace")] if program.suffix == ".py" else [])
    for name in (name for source in texts for name in imported(source)):
        beside = any((where / (name + ".py")).exists() or (where / name).is_dir() for where in places)
        if not beside and is_missing(name):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def imported(source):
    """Names of the packages that a module imports at its top."""
    import ast

    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return []
    found = [alias.name for node in body if isinstance(node, ast.Import) for alias in node.names]
    found += [node.module for node in body if isinstance(node, ast.ImportFrom) and not node.level and node.module]
    return [name.partition(".")[0] for name in found]


def plain(value):
    """With nothing in it but what JSON has: scalars of numpy and torch become numbers, bytes and everything else text."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "size", 1) == 1:
        return plain(item())
    if callable(getattr(value, "numel", None)) and value.numel() == 1:
        return plain(item())
    return str(value)


if __name__ == "__main__":
    main(sys.argv[1])
