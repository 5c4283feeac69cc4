"""MLflow: one experiment a market, one parent run a cycle, one child run a candidate.

The only code that talks to it.
"""

from pipeline.tracking.registry import load_candidate, load_version, move_champion, register
from pipeline.tracking.runs import BeginReport, CandidateRun, CloseReport, begin, candidate_run, close, log_to_cycle

__all__ = [
    "BeginReport",
    "CandidateRun",
    "CloseReport",
    "begin",
    "candidate_run",
    "close",
    "load_candidate",
    "load_version",
    "log_to_cycle",
    "move_champion",
    "register",
]
