"""Candidates in the user's own process: no walls, no deadline, no cost. For trusted code and quick evaluators."""

from __future__ import annotations

import io
import os
import resource
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path

from agentopt.core.candidate import Candidate
from agentopt.core.evaluation import Failure, FailureKind, Measured, Rollout
from agentopt.core.protocols import ExecutorContext, Session
from agentopt.sandbox.check import static_failure
from agentopt.sandbox.harness import Harness, Outcome, Work
from agentopt.sandbox.payload import box_files
from agentopt.sandbox.program import pieces_of
from agentopt.sandbox.session import Inputs, output_digest, splits_of
from agentopt.scoring.judge import Judge

__all__ = ["Inline"]
