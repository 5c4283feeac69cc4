"""A shop whose people can be told by their ids, and the search for them in any file, whatever it is packed in."""

import gzip
import io
import zipfile
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml

from pipeline.cycle import Home
from tests.conftest import HISTORY_START, small_market_settings

PERSON = "zq7-person"
"""Stands in every customer's and user's id of the markets that privacy is tested with, and nowhere else."""

MIN_GROUP = 4
"""Counts of fewer people are suppressed in this shop."""

ENCODINGS = ("utf-8", "utf-16-le", "utf-32-le")
"""Texts lie in files as one of these: numpy keeps them as UTF-32."""


def customer(number: int) -> str:
    """Return a person's id."""
    return f"{PERSON}-{number}"


def order_lines(until: date) -> pd.DataFrame:
    """Return six orders a day of each of two items: of SKU0 by one customer, of SKU1 by six."""
    return pd.DataFrame(
        {
            "invoice": f"{day:%m%d}-{order}",
            "line": "1",
            "sku": f"SKU{order % 2}",
            "date": str(day.date()),
            "units": 1 + day.weekday() // 5,
            "revenue": 2.5,
            "client": customer(0 if order % 2 == 0 else order),
        }
        for day in pd.date_range(HISTORY_START, until)
        for order in range(12)
    )


def click_events(until: date) -> pd.DataFrame:
    """Return eight events a day of each of two items: of SKU0 by one user, of SKU1 by eight."""
    draw = np.random.default_rng(11)
    return pd.DataFrame(
        {
            "event_id": f"{day:%m%d}-{number}",
            "item": f"SKU{number % 2}",
            "date": str(day.date()),
            "timestamp": f"{day.date()} 10:00:{number:02d}",
            "event": ["view", "cart", "favourite", "search"][draw.integers(4)],
            "user": customer(number // 2 if number % 2 else 0),
        }
        for day in pd.date_range(HISTORY_START, until)
        for number in range(16)
    )


def with_dirt(lines: pd.DataFrame, events: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both with rows for the quarantine, repetitions, and a person where a number or a day should stand."""
    bad = lines.tail(6).assign(invoice=[f"bad-{number}" for number in range(6)]).astype(object)
    bad["units"] = [0, 50_000, customer(1), 1, "inf", "nan"]
    bad.loc[bad.index[3], "date"] = customer(3)
    strange = events.tail(3).assign(event_id=["odd-0", "odd-1", "odd-2"]).astype(object)
    strange["event"] = ["teleported", "view", None]
    strange.loc[strange.index[1], "timestamp"] = customer(4)
    return (
        pd.concat([lines, bad, lines.iloc[[8, 9]]], ignore_index=True),
        pd.concat([events, strange, events.iloc[[8]]], ignore_index=True),
    )


def write_shop(folder: Path, lines: pd.DataFrame, events: pd.DataFrame, **changes: Any) -> Path:
    """Write the shop's files and its YAML, and return the YAML's path; `changes` replace keys of it."""
    folder.mkdir(parents=True, exist_ok=True)
    lines.to_csv(folder / "sales.csv", index=False)
    events.to_parquet(folder / "events.parquet", index=False)
    settings = small_market_settings()
    settings["feeds"] = {
        "sales": settings["feeds"]["sales"],
        "behaviour": {"source": "files", "path": "events.parquet"},
    }
    settings |= {"privacy": {"min_group": MIN_GROUP}, "gate": {"max_quarantined_share": 0.2}}
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(settings | changes), encoding="utf-8")
    return file


def files_outside_landing(home: Home) -> list[Path]:
    """Return every file of a home but those in the landing zone."""
    return [path for path in _files(home.path) if home.landing not in path.parents]


def places_with(text: str, files: Iterable[Path]) -> list[str]:
    """Return the files that hold a text, in their bytes or in what is packed in them."""
    wanted = [text.encode(encoding) for encoding in ENCODINGS]
    return [str(path) for path in files if any(_holds(part, wanted) for part in _contents(path))]


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]


def _holds(content: bytes, wanted: Iterable[bytes]) -> bool:
    return any(text in content for text in wanted)


def _contents(path: Path) -> Iterable[bytes]:
    content = path.read_bytes()
    yield content
    if path.suffix == ".parquet" or content[:4] == b"PAR1":
        for batch in pq.ParquetFile(path).iter_batches():
            for column in batch.columns:
                yield "\n".join(map(str, column.to_pylist())).encode()
    elif content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
