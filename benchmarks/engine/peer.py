"""One run of OpenEvolve over the same one-line evaluation, its model a server on this machine that answers at once.

Each iteration asks the model once, so the times of the requests are the times of the iterations.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.engine.marks import SIZES, stretch

__all__ = ["measure"]

PROGRAM = "# EVOLVE-BLOCK-START\n{filler}def x():\n    return {value}\n# EVOLVE-BLOCK-END\n"
EVALUATOR = "import runpy\n\ndef evaluate(program_path):\n    return {'combined_score': runpy.run_path(program_path)['x']()}\n"
CONFIG = """
max_iterations: {size}
diff_based_evolution: false
random_seed: {rng_seed}
llm:
  api_base: "http://127.0.0.1:{port}/v1"
  api_key: "none"
  models: [{{name: mock, weight: 1.0}}]
evaluator: {{cascade_evaluation: false, parallel_evaluations: 2}}
"""


@dataclass
class Model:
    """Answers each request with a program that returns a new random value, and remembers when it came.

    The programs are 3 to 60 lines long: OpenEvolve keeps one per range of length and novelty, and programs of one length would all
    replace each other, which no real search does.
    """

    rng: Random
    times: list[float] = field(default_factory=list[float])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self) -> dict[str, Any]:
        with self.lock:
            self.times.append(time.perf_counter())
            number = len(self.times)
            filler = "".join(f"part_{line} = {self.rng.random()}\n" for line in range(self.rng.randrange(58)))
            program = PROGRAM.format(filler=filler, value=self.rng.random())
        text = f"```python\n{program}```"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return {"id": str(number), "object": "chat.completion", "created": 0, "model": "mock", "choices": [choice], "usage": usage}


def serve(model: Model) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(model.reply()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silence: a line per request would be part of the measurement."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def measure(python: str, size: int, rng_seed: int) -> dict[str, Any]:
    """The rate at every size up to ``size``, CPU per iteration over the whole run, and bytes left on the disk per program."""
    model = Model(Random(rng_seed))
    server = serve(model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "seed.py").write_text(PROGRAM.format(filler="", value=0.5))
        (folder / "evaluator.py").write_text(EVALUATOR)
        (folder / "config.yaml").write_text(CONFIG.format(size=size, rng_seed=rng_seed, port=server.server_port))
        command = [python, "-m", "openevolve.cli", "seed.py", "evaluator.py", "-c", "config.yaml", "-i", str(size), "-o", "out"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=folder, env=os.environ | {"no_proxy": "127.0.0.1"}, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        left = sum(path.stat().st_size for path in (folder / "out").rglob("*") if path.is_file())
    server.shutdown()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    times = model.times
    reached = [size for size in SIZES if size <= len(times)]
    sizes = {size: {"rate": (stretch(size) - 1) / (times[size - 1] - times[size - stretch(size)])} for size in reached}
    return {"sizes": sizes, "log_bytes": left / size, "cpu_ms": 1000 * cpu / size, "requests": len(times)}
