"""Which code made something: recorded with every published row set, run and model."""

import os
import subprocess
from functools import cache
from pathlib import Path

import pipeline

__all__ = ["git_sha", "provenance"]


@cache
def git_sha() -> str:
    """Return the commit of the code: `TRENDMILL_GIT_SHA`, the checkout's, or `unknown` for an installed package."""
    given = os.environ.get("TRENDMILL_GIT_SHA")
    if given:
        return given
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def provenance() -> dict[str, str]:
    """Return package version and commit."""
    return {"trendmill.version": pipeline.__version__, "trendmill.git_sha": git_sha()}
