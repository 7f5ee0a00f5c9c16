"""Files of the user, written whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from agentopt.core.errors import ConfigError

__all__ = ["replace_files"]


def replace_files(files: Mapping[Path, str | bytes]) -> None:
    """Write every text beside its file first and then put all in place; links and permissions stay. Raises ConfigError."""
    ready: list[tuple[Path, Path]] = []
    at = Path()
    try:
        for path, text in files.items():
            at = path
            target = path.resolve()
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name[:100]}.{os.getpid()}.tmp")
            ready.append((temporary, target))
            temporary.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
            if target.exists():
                shutil.copymode(target, temporary)
        for temporary, target in ready:
            at = target
            os.replace(temporary, target)
    except OSError as error:
        raise ConfigError(f"{at}: cannot be written ({error.strerror}); check the path and its permissions") from None
    finally:
        for temporary, _ in ready:
            temporary.unlink(missing_ok=True)
