"""Great Expectations at the gate: run a feed's suite over a batch, with Data Docs for people.

Severity in a suite decides what a broken rule does: `critical` blocks the batch, `warning` sends the row to
quarantine, `info` is only shown. The only code that imports `great_expectations`.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.errors import ConfigError

__all__ = ["Verdict", "check", "expectations_dir"]


@dataclass(frozen=True)
class Verdict:
    """What a suite says of a batch."""

    blocking: tuple[str, ...]
    """A sentence for each broken rule that blocks."""
    warnings: tuple[str, ...]
    """A sentence for each broken rule that is only shown."""
    reasons: Mapping[int, tuple[str, str]]
    """Position of a bad row -> the rule it broke first, and why that is wrong."""
    docs: Path
    """The batch's page in the Data Docs."""


def expectations_dir() -> Path:
    """Return the folder of the suites: `TRENDMILL_EXPECTATIONS`, or `expectations/` beside the package."""
    beside = Path(__file__).resolve().parents[2] / "expectations"
    return Path(os.environ.get("TRENDMILL_EXPECTATIONS") or beside)


def check(batch: pa.Table, suite_name: str, parameters: Mapping[str, Any], context_dir: Path) -> Verdict:
    """Run a suite over a batch and leave its result in the Data Docs of the context.

    Args:
        batch: rows to check, in the columns that the suite speaks of.
        suite_name: name of the suite's file in `expectations/`.
        parameters: values of the suite's `$PARAMETER` placeholders.
        context_dir: folder of the Great Expectations context; one writer at a time.

    Raises:
        ConfigError: if the suite's file is missing or is no suite.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")
    import great_expectations as gx

    frame = _frame(batch)
    context_dir.mkdir(parents=True, exist_ok=True)
    context = gx.get_context(mode="file", project_root_dir=context_dir)
    context.variables.progress_bars = {"globally": False}
    suite = context.suites.add_or_update(_suite(gx, suite_name))
    source = context.data_sources.add_or_update_pandas(name="landing")
    asset = source.add_dataframe_asset(name=suite_name)
    definition = asset.add_batch_definition_whole_dataframe("batch")
    validation = gx.ValidationDefinition(name=suite_name, data=definition, suite=suite)
    checkpoint = gx.Checkpoint(
        name="gate",
        validation_definitions=[context.validation_definitions.add_or_update(validation)],
        result_format="SUMMARY",
    )
    ran = context.checkpoints.add_or_update(checkpoint).run(
        batch_parameters={"dataframe": frame}, expectation_parameters=dict(parameters)
    )
    context.build_data_docs()
    (identifier, result), *_ = ran.run_results.items()
    batch_of_rows = definition.get_batch(batch_parameters={"dataframe": frame})
    blocking, warnings = [], []
    reasons: dict[int, tuple[str, str]] = {}
    for outcome in result.results:
        if outcome.success:
            continue
        rule, reason = outcome.expectation_config.meta["rule"], outcome.expectation_config.meta["reason"]
        match outcome.expectation_config.severity:
            case gx.expectations.metadata_types.FailureSeverity.CRITICAL:
                blocking.append(f"{reason} (rule '{rule}'{_observed(outcome.result)})")
            case gx.expectations.metadata_types.FailureSeverity.WARNING:
                for position in _positions(batch_of_rows, outcome.expectation_config, parameters):
                    reasons.setdefault(position, (rule, reason))
            case _:
                warnings.append(f"{reason} (rule '{rule}')")
    site = context_dir / "gx" / "uncommitted" / "data_docs" / "local_site"
    docs = next(site.glob(f"validations/{suite_name}/*/{identifier.run_id.run_time:%Y%m%dT%H%M%S.%fZ}/*.html"), site)
    return Verdict(tuple(blocking), tuple(warnings), dict(sorted(reasons.items())), docs)


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
