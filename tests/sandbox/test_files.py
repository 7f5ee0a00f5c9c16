"""The scratch folder."""

from __future__ import annotations

import os
import shutil

from agentopt.sandbox.files import copy_files, remove_folder


def test_files_and_folders_are_copied(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "lib").mkdir(parents=True)
    target.mkdir()
    (source / "a.txt").write_text("a")
    (source / "lib" / "b.txt").write_text("b")
    copy_files([str(source / "a.txt"), str(source / "lib")], target)
    assert ((target / "a.txt").read_text(), (target / "lib" / "b.txt").read_text()) == ("a", "b")


def test_a_locked_folder_is_removed_and_what_it_links_to_is_not(tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    folder = tmp_path / "scratch"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "link").symlink_to(outside)
    for path in (folder / "a" / "b", folder / "a", folder):
        path.chmod(0)
    real, calls = shutil.rmtree, []

    def not_for_root(path, ignore_errors):
        """Root is stopped by no mode: the first try fails for everybody."""
        calls.append(oct(os.stat(path).st_mode & 0o777))
        if len(calls) > 1:
            real(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", not_for_root)
    remove_folder(folder)
    assert calls == ["0o0", "0o700"]
    assert not folder.exists()
    assert outside.stat().st_mode & 0o777 == 0o755
