"""Our own processes start without the user's environment."""

from __future__ import annotations

import subprocess

import pytest

from agentopt.core.boot import boot_command


@pytest.mark.parametrize("module", ["stranger", "agentopt.core.nothing"])
def test_a_process_finds_agentopt_but_neither_the_working_directory_nor_the_users_path(tmp_path, monkeypatch, module):
    (tmp_path / "stranger.py").write_text("raise SystemExit('imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = subprocess.run(boot_command(module), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"No module named '{module}'" in done.stderr
