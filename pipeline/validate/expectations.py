"""Great Expectations at the gate: run a feed's suite over a batch, with Data Docs for people.

Severity in a suite decides what a broken rule does: `critical` blocks the batch, `warning` sends the row to
quarantine, `info` is only shown. The only code that imports `great_expectations`.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.errors import ConfigError

__all__ = ["NOTHING_TO_SAY", "Verdict", "check", "expectations_dir"]


@dataclass(frozen=True)
class Verdict:
    """What a suite says of a batch."""

    blocking: tuple[str, ...]
    """A sentence for each broken rule that blocks."""
    reasons: Mapping[int, tuple[str, str]]
    """Position of a bad row -> the rule it broke first, and why that is wrong."""
    docs: Path | None
    """The batch's page in the Data Docs."""


NOTHING_TO_SAY = Verdict((), {}, None)
"""The verdict on an empty batch."""


def expectations_dir() -> Path:
    """Return the folder of the suites: `TRENDMILL_EXPECTATIONS`, or `expectations/` beside the package."""
    beside = Path(__file__).resolve().parents[2] / "expectations"
    return Path(os.environ.get("TRENDMILL_EXPECTATIONS") or beside)


def check(batch: pa.Table, suite_name: str, parameters: Mapping[str, Any], docs_dir: Path) -> Verdict:
    """Run a suite over a batch and leave the result as pages: the Data Docs of the last batch that the suite judged.

    Great Expectations works in a scratch folder, so that an attempt that is killed leaves nothing behind for the next.

    Args:
        batch: rows to check, in the columns that the suite speaks of.
        suite_name: name of the suite's file in `expectations/`.
        parameters: values of the suite's `$PARAMETER` placeholders.
        docs_dir: folder of the pages, a folder a suite.

    Raises:
        ConfigError: if the suite's file is missing or is no suite.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import great_expectations as gx

    with TemporaryDirectory() as scratch:
        context = gx.get_context(mode="file", project_root_dir=scratch)
        context.variables.progress_bars = {"globally": False}
        suite = context.suites.add(_suite(gx, suite_name))
        asset = context.data_sources.add_pandas(name="landing").add_dataframe_asset(name=suite_name)
        definition = asset.add_batch_definition_whole_dataframe("batch")
        validation = context.validation_definitions.add(
            gx.ValidationDefinition(name=suite_name, data=definition, suite=suite)
        )
        checkpoint = gx.Checkpoint(name="gate", validation_definitions=[validation], result_format="SUMMARY")
        frame = _frame(batch)
        ran = context.checkpoints.add(checkpoint).run(
            batch_parameters={"dataframe": frame}, expectation_parameters=dict(parameters)
        )
        context.build_data_docs()
        site = Path(scratch) / "gx" / "uncommitted" / "data_docs" / "local_site"
        docs = _published(site, docs_dir / suite_name)
        rows = definition.get_batch(batch_parameters={"dataframe": frame})
        (result,) = ran.run_results.values()
        return _verdict(gx, result, rows, parameters, docs)


def _verdict(gx: Any, result: Any, rows: Any, parameters: Mapping[str, Any], docs: Path) -> Verdict:  # noqa: ANN401
    """Return what the broken rules do, by their severity."""
    severities = gx.expectations.metadata_types.FailureSeverity
    blocking = []
    reasons: dict[int, tuple[str, str]] = {}
    for outcome in result.results:
        if outcome.success:
            continue
        rule, reason = outcome.expectation_config.meta["rule"], outcome.expectation_config.meta["reason"]
        match outcome.expectation_config.severity:
            case severities.CRITICAL:
                blocking.append(f"{reason} (rule '{rule}'{_observed(outcome.result)})")
            case severities.WARNING:
                for position in _positions(rows, outcome.expectation_config, parameters):
                    reasons.setdefault(position, (rule, reason))
    return Verdict(tuple(blocking), dict(sorted(reasons.items())), docs)


def _published(site: Path, target: Path) -> Path:
    """Put a built site in the place of the last one and return the batch's page."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{uuid4().hex}")
    for leftover in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(site, fresh)
    if target.exists():
        shutil.rmtree(target)
    fresh.rename(target)
    return next(target.glob("validations/**/*.html"), target / "index.html")


def _frame(batch: pa.Table) -> pd.DataFrame:
    """Return the batch for pandas, with days as timestamps: `date` objects would be compared one by one."""
    for position, column in enumerate(batch.schema):
        if pa.types.is_date(column.type):
            batch = batch.set_column(position, column.name, batch[column.name].cast(pa.timestamp("s")))
    return batch.to_pandas()


def _suite(gx: Any, name: str) -> Any:  # noqa: ANN401 - great_expectations is imported inside the stage
    file = expectations_dir() / f"{name}.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return gx.ExpectationSuite(name=content["name"], meta=content["meta"], expectations=content["expectations"])
    except FileNotFoundError as exc:
        msg = f"There is no expectation suite {file}; every feed needs one."
        raise ConfigError(msg) from exc
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, gx.exceptions.GreatExpectationsError) as exc:
        msg = f"{file} is no valid Great Expectations suite: {str(exc).splitlines()[0]}"
        raise ConfigError(msg) from exc


def _positions(batch: Any, expectation: Any, parameters: Mapping[str, Any]) -> list[int]:  # noqa: ANN401
    """Return the positions of the rows that break a rule."""
    outcome = batch.validate(
        expectation.to_domain_obj(), result_format="COMPLETE", expectation_parameters=dict(parameters)
    )
    return [int(position) for position in np.sort(outcome.result["unexpected_index_list"])]


def _observed(result: Mapping[str, Any]) -> str:
    if "observed_value" in result:
        value = result["observed_value"]
        return f"; found {value.date() if isinstance(value, pd.Timestamp) else value}"
    return f"; {result['unexpected_count']:,} rows break it" if "unexpected_count" in result else ""
