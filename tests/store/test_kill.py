"""What was acknowledged is there, whenever the writer was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from agentopt.store.sqlite import SqliteStore
from tests.untraced import untraced

KILLER = """
import os, signal, sys, time
from pathlib import Path
from random import Random
from agentopt.store.sqlite import SqliteStore

folder, rng = Path(sys.argv[1]), Random(1)
SqliteStore.create(folder).close()
for turn in range(24):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        store = SqliteStore.open(folder)
        index = 0
        while True:
            index += 1
            kind = "llm_reply" if index % 16 == 0 else "rollout"
            blob = store.put(f"{turn}:{index}".encode() * 40)
            event = store.append(kind, {"candidate": f"c{index % 7}", "turn": turn, "index": index, "output": blob})
            os.write(write, event.seq.to_bytes(4, "big"))
    os.close(write)
    for _ in range(rng.randrange(1, 40)):
        acknowledged = os.read(read, 4)
    time.sleep(rng.random() * 0.004)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(read, 4):
        acknowledged = more
    os.close(read)
    reader = SqliteStore.open(folder, read_only=True)
    events = list(reader.read())
    last = int.from_bytes(acknowledged, "big")
    assert last <= len(events) <= last + 1, (turn, last, len(events))
    assert reader.verify() == len(events)
    assert all(reader.get(event.data["output"]) for event in events)
    reader.close()
print(len(events))
"""


def test_acknowledged_events_survive_kill(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(tmp_path / "run")], capture_output=True, text=True, check=False, env=untraced()
    )
    assert done.returncode == 0, done.stderr
    with SqliteStore.open(tmp_path / "run") as store:
        assert store.verify() == store.last_seq == int(done.stdout)
        assert store.append("note", {}).seq == store.last_seq
