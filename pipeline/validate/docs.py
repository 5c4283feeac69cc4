"""Data Docs: what the gate has found in a batch, as one page that people can open."""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, time
from pathlib import Path
from uuid import uuid4

from pipeline.cycle import Cycle
from pipeline.validate.expectations import Outcome

__all__ = ["write_page"]


def write_page(cycle: Cycle, suite_name: str, outcomes: Sequence[Outcome]) -> Path:
    """Write the page of a batch, rendered by Great Expectations, and return its path.

    The newest page of a suite is also its `index.html`.
    """
    from great_expectations.core import ExpectationSuiteValidationResult, RunIdentifier
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    results = [_result(outcome) for outcome in outcomes]
    held = sum(bool(result.success) for result in results)
    run = RunIdentifier(run_name=cycle.key, run_time=datetime.combine(cycle.as_of, time(), tzinfo=UTC))
    whole = ExpectationSuiteValidationResult(
        success=held == len(results),
        results=results,
        suite_name=suite_name,
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": held,
            "unsuccessful_expectations": len(results) - held,
            "success_percent": 100 * held / max(len(results), 1),
        },
        meta={"run_id": run.to_json_dict()},
    )
    document = ValidationResultsPageRenderer().render(whole)
    page = cycle.home.data_docs / cycle.market.name / suite_name / f"{cycle.as_of}.html"
    _write(page, DefaultJinjaPageView().render(document, show_how_to_buttons=False))
    _write(page.with_name("index.html"), page.read_text(encoding="utf-8"))
    return page


def _result(outcome: Outcome):  # type: ignore[no-untyped-def]  # noqa: ANN202 - great_expectations has no types
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    return ExpectationValidationResult(
        success=outcome.broken == 0,
        expectation_config=ExpectationConfiguration(**outcome.rule.configuration),
        result=outcome.result(),
    )


def _write(file: Path, text: str) -> None:
    """Put a file in the place of an older one, whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{uuid4().hex}")
    fresh.write_text(text, encoding="utf-8")
    shutil.move(fresh, file)
