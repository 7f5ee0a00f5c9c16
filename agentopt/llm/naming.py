"""Which parameter a piece of a reply is for: by the name it bears, by what it defines, by what the line above it mentions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from agentopt.core.task import Parameter
from agentopt.llm.outline import Block
from agentopt.llm.verdicts import Fault, quoted

__all__ = ["GENERAL_WORDS", "LANGUAGES", "Names", "defined", "fits"]

LANGUAGES: dict[str, frozenset[str]] = {
    "python": frozenset(("python", "py", "python3", "py3", "ipython", "numpy")),
    "c": frozenset(("c", "h")),
    "cpp": frozenset(("cpp", "c++", "cc", "cxx", "hpp", "c")),
    "cuda": frozenset(("cuda", "cu", "cuh", "cpp", "c++", "c")),
    "javascript": frozenset(("javascript", "js", "jsx", "node")),
    "typescript": frozenset(("typescript", "ts", "tsx")),
    "rust": frozenset(("rust", "rs")),
    "go": frozenset(("go", "golang")),
    "triton": frozenset(("triton", "python", "py")),
}
"""Tags of a fence by language; a language that is not here has its own name alone."""
_ANSWERS = frozenset(("answer", "final_answer", "solution", "result", "output"))
GENERAL_WORDS: dict[str, frozenset[str]] = {
    "code": _ANSWERS
    | frozenset(("code", "new_code", "improved_code", "program", "source", "implementation", "function", "content", "text"))
    | frozenset(("file", "artifact", "antartifact", "component", "parameter", "param")),
    "prompt": frozenset(("prompt", "new_prompt", "improved_prompt", "instruction", "new_instruction", "content", "text")),
    "config": _ANSWERS | frozenset(("config", "configuration", "parameters", "params", "values", "settings")),
    "value": _ANSWERS | frozenset(("value", "parameter", "param")),
}
"""What the one parameter that there is may be called, by its kind. An answer is none for a prompt: it may be the answer to it."""
_PLAIN = frozenset(("", "text", "txt", "plaintext", "markdown", "md", "prompt", "none"))
_JSON = frozenset(("", "json", "jsonc", "json5"))
_LABELS = frozenset(("file", "filename", "path", "parameter", "param", "module", "component", "artifact"))
_SUFFIX = re.compile(r"\.(?:py|pyi|c|h|cc|cpp|cxx|hpp|cu|cuh|js|ts|go|rs|java|jl|txt|md|json|toml|ya?ml|sh|prompt|jinja2?)$", re.I)
_UNCHANGED = ("no change", "unchanged", "not changed", "stays the same", "remains the same")
"""What stands above a file that is shown for completeness, often with parts left out."""
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_COMMENT = ("#", "//", "--", "/*", "<!--", ";", "%")
_DECORATION = "#*`:-=>[]()<>!;% \t\"'"
_DEFINED = re.compile(r"^(?:async[ \t]+def|def|class)[ \t]+(\w+)|^(\w+)[ \t]*(?::[^=\n]{0,200})?=(?!=)", re.M)


def defined(source: str) -> set[str]:
    """The names that Python text defines at its left margin; the text need not be valid."""
    return {match[1] or match[2] for match in _DEFINED.finditer(source)}


def fits(block: Block, parameter: Parameter) -> bool:
    """Could a block hold the parameter, going by the tag of its fence or the general name of its element or key?"""
    if block.form != "rewrite":
        return block.tag in GENERAL_WORDS[parameter.kind]
    if parameter.kind == "prompt":
        return block.tag in _PLAIN
    if parameter.kind != "code":
        return block.tag in _JSON
    return block.tag == "" or block.tag in LANGUAGES.get(parameter.language, frozenset((parameter.language,)))


class Names:
    """The parameters and the names that a model may call them by."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self.parameters = parameters
        self.trainable = {name: parameter for name, parameter in parameters.items() if parameter.trainable}
        self.unknown: list[str] = []
        """Names seen that nothing here bears."""
        self._files = {PurePosixPath(p.path).name: name for name, p in parameters.items() if p.path}

    @property
    def only(self) -> str | None:
        """The one trainable parameter, if there is just one."""
        return next(iter(self.trainable)) if len(self.trainable) == 1 else None

    def find(self, written: str) -> str | None:
        """The parameter called ``written``: its name, its path, or a file named after it. Raises Fault for a path that leads astray."""
        written = written.strip().strip("`\"'").removeprefix("./")
        if written in self.parameters:
            return written
        path = PurePosixPath(written.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or _DRIVE.match(written) or "\0" in written:
            raise Fault("unknown_parameter", f"The reply names the file {quoted(written)}, which is none of {self._all()}.")
        for name, parameter in self.parameters.items():
            if parameter.path == written:
                return name
        if len(path.parts) == 1 and path.suffix:
            return self._files.get(path.name) or (path.stem if path.stem in self.parameters else None)
        return None

    def of(self, block: Block) -> tuple[str | None, bool]:
        """(the parameter that a block changes or None, whether the block says so itself). Raises Fault as ``find`` does."""
        if self.only is None and any(word in block.above.lower() for word in _UNCHANGED):
            return None, False
        written = self._written(block)
        if written:
            name = self.find(written)
            if name:
                return name, True
            if _SUFFIX.search(written) or "/" in written or block.form in ("xml", "json"):
                self.unknown.append(written)
                return self.only, False
        return self.only or self._by_content(block), False

    def _written(self, block: Block) -> str | None:
        """The name that the block bears, if it bears one."""
        if block.name:
            return block.name
        title = heading(block.above, self.parameters)
        if title:
            return title
        first = block.body.lstrip("\n").partition("\n")[0].strip()
        comment = heading(first) if first.startswith(_COMMENT) else None
        return comment if comment and (_SUFFIX.search(comment) or comment in self.parameters) else None

    def _by_content(self, block: Block) -> str | None:
        names = defined(block.body)
        entries = [name for name, parameter in self.trainable.items() if parameter.is_python and parameter.entry in names]
        if len(entries) == 1:
            return entries[0]
        words = set(re.split(r"[^\w./]+", block.above))
        mentioned = [name for name, parameter in self.trainable.items() if words & {name, f"{name}.py", parameter.path}]
        if len(mentioned) == 1:
            return mentioned[0]
        fitting = [name for name, parameter in self.trainable.items() if fits(block, parameter)]
        return fitting[0] if len(fitting) == 1 and block.tag else None

    def refuse_frozen(self, name: str) -> None:
        """Raise Fault: the reply changes a parameter that is not trainable."""
        raise Fault("unknown_parameter", f"The parameter {name!r} is not to be changed; change {self._all()}.")

    def refuse_unknown(self, modules: set[str] | None = None) -> None:
        """Raise Fault for the first name seen that nothing here bears; with ``modules``, only for one of these."""
        for written in self.unknown:
            if modules is None or PurePosixPath(written).stem in modules:
                raise Fault("unknown_parameter", f"The reply names {quoted(written)}, which is none of {self._all()}.")

    def _all(self) -> str:
        return ", ".join(map(repr, self.trainable))


def heading(line: str, known: Iterable[str] = ()) -> str | None:
    """The file or parameter that a line names, doing nothing else: ``### file: a.py``, ``**a.py**``, ``# a.py``."""
    words = [word.strip(_DECORATION) for word in line[:300].replace("`", " ").replace(":", " ").split()]
    words = [word for word in words if word.strip("/.0123456789")]
    labelled = False
    while words and words[0].lower() in _LABELS:
        labelled = True
        words = words[1:]
    if len(words) != 1:
        return None
    (word,) = words
    marked = line.lstrip().startswith(("#", "*", "`", "/", "<")) or line.rstrip().endswith(":")
    return word if labelled or _SUFFIX.search(word) or (marked and ("/" in word or word in known)) else None
