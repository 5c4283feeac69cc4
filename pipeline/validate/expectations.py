"""Great Expectations at the gate: a suite judges a batch slice by slice, and its results are added up for people.

Checking is cheap and telling which rows are bad is not, so each slice is first only asked whether every rule holds;
the rows are looked for in the rules that do not. Nothing is written while judging.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import ConfigError
from pipeline.validate.suites import Rule, Suite

__all__ = ["GOOD", "Judge", "Outcome"]

GOOD = -1
"""In place of a rule's number: the row breaks none."""

CHUNK_ROWS = 500_000
"""Rows in which bad ones are looked for at once: Great Expectations lists them as Python objects."""
EXAMPLES = 20
"""Bad values of a rule that are shown."""


@dataclass
class Outcome:
    """What one rule has found in all rows judged so far."""

    rule: Rule
    rows: int = 0
    missing: int = 0
    """Rows without a value, which most rules pass over."""
    broken: int = 0
    examples: list[Any] = field(default_factory=list)
    """Some of the values that break it; pairs for a rule about two columns."""

    def add(self, found: Mapping[str, Any]) -> None:
        """Add what Great Expectations has found in some rows."""
        self.rows += found.get("element_count", 0)
        self.missing += found.get("missing_count") or 0
        self.broken += found.get("unexpected_count", 0)
        self.examples = [*self.examples, *found.get("partial_unexpected_list", [])][:EXAMPLES]

    def result(self) -> dict[str, Any]:
        """Return the sum in the words of a Great Expectations result."""
        present = self.rows - self.missing
        counts = Counter(map(str, self.examples))
        return {
            "element_count": self.rows,
            "missing_count": self.missing,
            "missing_percent": _percent(self.missing, self.rows),
            "unexpected_count": self.broken,
            "unexpected_percent": _percent(self.broken, present),
            "unexpected_percent_total": _percent(self.broken, self.rows),
            "unexpected_percent_nonmissing": _percent(self.broken, present),
            "partial_unexpected_list": self.examples,
            "partial_unexpected_counts": [{"value": value, "count": count} for value, count in counts.most_common()],
        }


class Judge:
    """A suite at work: frames go in, for each row the number of the first rule that sends it away comes out."""

    def __init__(self, suite: Suite) -> None:
        gx, self._slice = _great_expectations()
        self.suite = suite
        self._expectations = gx.ExpectationSuite(suite.name)
        self.outcomes = [Outcome(rule) for rule in suite.rules]
        for rule in suite.rules:
            self._expectations.add_expectation(_expectation(gx, suite, rule))

    def judge(self, frame: pd.DataFrame) -> "np.ndarray[Any, np.dtype[np.int16]]":
        """Return for each row the number of the first broken rule that quarantines it, or `GOOD` `[N]`.

        Args:
            frame: rows in the columns that the suite speaks of, numbered from 0 `[N, C]`.

        Raises:
            ConfigError: if a rule cannot be asked of these rows.
        """
        sent_away_by = np.full(len(frame), GOOD, np.int16)
        if len(frame) == 0:
            return sent_away_by
        held = self._held(frame)
        for number, outcome in enumerate(self.outcomes):
            if held[outcome.rule.name]:
                outcome.add({"element_count": len(frame), "missing_count": _missing(frame, outcome.rule)})
                continue
            bad = np.fromiter(self._bad_rows(frame, number), np.int64)
            sent_away_by[bad[sent_away_by[bad] == GOOD]] = number
        return sent_away_by

    def _held(self, frame: pd.DataFrame) -> dict[str, bool]:
        """Return whether each rule holds in all rows."""
        judged = self._slice.get_batch({"dataframe": frame}).validate(self._expectations, result_format="BOOLEAN_ONLY")
        _refuse_exceptions(judged.results)
        return {outcome.expectation_config.meta["rule"]: bool(outcome.success) for outcome in judged.results}

    def _bad_rows(self, frame: pd.DataFrame, number: int) -> Iterator[int]:
        """Look for the rows that break a rule, add to its outcome, and yield the positions of those to quarantine."""
        outcome, expectation = self.outcomes[number], self._expectations.expectations[number]
        columns = list(dict.fromkeys(outcome.rule.columns))
        for start in range(0, len(frame), CHUNK_ROWS):
            chunk = frame.iloc[start : start + CHUNK_ROWS][columns]
            # Listing the rows is what costs, and only those of a warning are asked for.
            wanted = "COMPLETE" if outcome.rule.severity == "warning" else "SUMMARY"
            found = self._slice.get_batch({"dataframe": chunk}).validate(expectation, result_format=wanted)
            _refuse_exceptions([found])
            outcome.add(found.result)
            yield from found.result.get("unexpected_index_list") or ()


@cache
def _great_expectations() -> tuple[Any, Any]:
    """Return the library and the definition of a slice of rows in it, made once a process."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    with _pyspark_hidden():
        import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas(name="landing").add_dataframe_asset(name="rows")
    return gx, asset.add_batch_definition_whole_dataframe("slice")


@contextmanager
def _pyspark_hidden() -> Iterator[None]:
    """Keep Great Expectations from importing `pyspark`, which takes seconds that only Spark data would be worth.

    In a process without a main file (`python -c`), that import would even end the process without a word.
    """
    loaded = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "pyspark"}
    hidden = dict.fromkeys(["pyspark", *loaded])
    sys.modules.update(hidden)  # type: ignore[arg-type]  # None is Python's word for "not to be imported"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        sys.modules.update(loaded)


def _expectation(gx: Any, suite: Suite, rule: Rule) -> Any:  # noqa: ANN401 - great_expectations is imported at work
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        expectation = ExpectationConfiguration(**rule.configuration).to_domain_obj()
    except (TypeError, ValueError, gx.exceptions.GreatExpectationsError) as exc:
        msg = f"The rule '{rule.name}' of the suite '{suite.name}' is not valid: {str(exc).splitlines()[0]}; mend it."
        raise ConfigError(msg) from exc
    maps = gx.expectations.expectation
    by_row = (maps.ColumnMapExpectation, maps.ColumnPairMapExpectation, maps.MulticolumnMapExpectation)
    if not isinstance(expectation, by_row) or "unique" in rule.type:
        msg = (
            f"The rule '{rule.name}' of the suite '{suite.name}' judges the batch as a whole ({rule.type}), but rows "
            f"are judged one by one; 'batch.json' has the rules about volume, freshness and keys."
        )
        raise ConfigError(msg)
    return expectation


def _refuse_exceptions(outcomes: Sequence[Any]) -> None:
    for outcome in outcomes:
        told = outcome.exception_info or {}
        first = told if "raised_exception" in told else next(iter(told.values()), {"raised_exception": False})
        if first["raised_exception"]:
            rule = outcome.expectation_config.meta["rule"]
            cause = str(first["exception_message"]).splitlines()[0]
            msg = f"The rule '{rule}' cannot be asked of the landed rows: {cause}; mend it in its suite."
            raise ConfigError(msg)


def _missing(frame: pd.DataFrame, rule: Rule) -> int:
    if rule.asks_for_presence or len(rule.columns) > 1:
        return 0
    return int(frame[rule.columns[0]].isna().sum())


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0
