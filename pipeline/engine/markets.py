"""Market files that lie outside the markets folder: the home notes them, so that every engine in it has their DAGs."""

import json
import os
from pathlib import Path

from pipeline.cycle import Home
from pipeline.engine.errors import EngineError
from pipeline.market import Market, markets_dir

__all__ = ["MARKET_FILES", "market_files", "note_market"]

MARKET_FILES = "TRENDMILL_MARKET_FILES"
"""The variable by which the DAG factory learns of market files beyond the folder, joined like `PATH`."""


def market_files(home: Home, market: Market | None = None) -> str:
    """Return the value of `MARKET_FILES`: the given market first, then those that have run in the home.

    Raises:
        EngineError: if the market's path holds the character that separates paths.
    """
    if market and os.pathsep in str(market.file):
        msg = f"The path {market.file} holds a '{os.pathsep}', which separates paths; rename or move the file."
        raise EngineError(msg)
    noted = [file for name, file in _noted(home).items() if not market or name != market.name]
    return os.pathsep.join(str(file) for file in ([market.file] if market else []) + noted)


def note_market(home: Home, market: Market) -> None:
    """Note that a market has run from this file; a market of the folder needs no note, and ends an older one."""
    noted = _noted(home)
    noted.pop(market.name, None)
    if not _in_folder(market.file):
        noted[market.name] = market.file
    file = _file(home)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(file.name + ".draft")
    draft.write_text(json.dumps({name: str(path) for name, path in noted.items()}, indent=2), encoding="utf-8")
    draft.replace(file)


def _file(home: Home) -> Path:
    return home.airflow / "markets.json"


def _noted(home: Home) -> dict[str, Path]:
    """Return market name -> the file it last ran from, where that file still exists."""
    try:
        noted = json.loads(_file(home).read_text(encoding="utf-8"))
        files = {str(name): Path(path) for name, path in noted.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {name: file for name, file in files.items() if file.is_file()}


def _in_folder(file: Path) -> bool:
    """Return whether the DAG factory finds the file by itself."""
    return file.parent == markets_dir().resolve() and file.suffix in {".yaml", ".yml"}
