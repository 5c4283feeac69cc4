"""Make one Airflow DAG a market: the order, schedule, retries, pools and queues of a daily or weekly cycle.

Airflow parses this file every half minute, so only `airflow.sdk`, PyYAML and the standard library are imported here;
each task body is one call into `pipeline`, imported when the task runs.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import yaml
from airflow.sdk import DAG, CronTriggerTimetable, TriggerRule, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from pipeline.cycle import Cycle
    from pipeline.stage import StageReport

__all__ = [
    "DEFAULT_MODELS",
    "GPU_MODELS",
    "BuiltDags",
    "FoundMarkets",
    "MarketCard",
    "build_dags",
    "daily_cycle",
    "find_markets",
    "read_card",
]

GPU_MODELS = frozenset({"cnn_lstm", "gru", "lstm", "patch_transformer"})
"""Models that train in the pool and on the queue `gpu`; a test keeps this equal to `pipeline.candidates.NEURAL`."""

DEFAULT_MODELS = {
    "seasonal_naive": "seasonal_naive",
    "ets": "ets",
    "lightgbm": "lightgbm",
    "perceptron": "perceptron",
    "ensemble": "ensemble",
}
"""Candidate -> model of a market that names none; a test keeps this equal to `pipeline.candidates.DEFAULT`."""

_LONGEST_RETRY_DELAY = timedelta(minutes=15)
_LOG = logging.getLogger("trendmill")

_reporting_task = partial(task, multiple_outputs=False)
"""A task whose report is handed on as one XCom, and not once more for each of its keys."""


@dataclass(frozen=True)
class MarketCard:
    """What a DAG must know of a market before anything runs; `pipeline.market` validates the rest in the first task."""

    file: Path
    name: str
    title: str
    about: str
    timezone: str
    feeds: tuple[str, ...]
    models: Mapping[str, str]
    """Candidate -> the word for its model."""
    frequency: str = "D"
    """`D` or `W`: whether a cycle is due every day, or on Mondays, when a week is over."""
    at: str = "05:00"
    retries: int = 2
    retry_delay_seconds: float = 30
    task_timeout_minutes: int = 60

    @property
    def ensembles(self) -> tuple[str, ...]:
        """The candidates that average others."""
        return tuple(name for name, model in self.models.items() if model == "ensemble")

    @property
    def dag_id(self) -> str:
        """The DAG's id."""
        return f"daily_cycle__{self.name}"

    @property
    def cron(self) -> str:
        """When the night is due, in the market's time zone."""
        hour, minute = self.at.split(":")
        return f"{int(minute)} {int(hour)} * * {'1' if self.is_weekly else '*'}"

    @property
    def is_weekly(self) -> bool:
        """Whether a cycle is due once a week."""
        return self.frequency == "W"


@dataclass(frozen=True)
class FoundMarkets:
    """The markets that can be read, and a sentence for each that cannot."""

    cards: tuple[MarketCard, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class BuiltDags:
    """The DAGs that can be made, and a sentence for each market of which none can."""

    dags: tuple[DAG, ...]
    problems: tuple[str, ...]


def build_dags(dag_id: str | None = None) -> BuiltDags:
    """Make the DAG of each market, or the one of this id alone; what goes wrong with one market spares the others."""
    found = find_markets()
    dags, problems = [], list(found.problems)
    for card in found.cards:
        if dag_id not in {None, card.dag_id}:
            continue
        try:
            dags.append(daily_cycle(card))
        except Exception as exc:  # noqa: BLE001 - whatever it is, the other markets' nights go on
            problems.append(_no_dag(card.file, exc))
    return BuiltDags(tuple(dags), tuple(problems))


def find_markets() -> FoundMarkets:
    """Read what `TRENDMILL_MARKETS` (or `markets/` beside this folder) holds, and what `TRENDMILL_MARKET_FILES` names.

    Those files, joined like `PATH`, are read first: where two files give the same name, the first of them wins.
    """
    folder = Path(os.environ.get("TRENDMILL_MARKETS") or Path(__file__).resolve().parent.parent / "markets")
    named = os.environ.get("TRENDMILL_MARKET_FILES", "").split(os.pathsep)
    first = dict.fromkeys(Path(file).resolve() for file in named if file)
    files = sorted({file.resolve() for pattern in ("*.yaml", "*.yml") for file in folder.glob(pattern)} - set(first))
    cards: dict[str, MarketCard] = {}
    problems = []
    for file in [*first, *files]:
        try:
            card = read_card(file)
        except ValueError as exc:
            problems.append(str(exc))
            continue
        if card.name not in cards:
            cards[card.name] = card
        elif cards[card.name].file not in first:
            problems.append(f"{file} and {cards[card.name].file} both call their market '{card.name}'; rename one.")
    return FoundMarkets(tuple(cards.values()), tuple(problems))


def read_card(file: Path) -> MarketCard:
    """Read what the DAG needs of a market's YAML.

    Raises:
        ValueError: a sentence with the file, what is wrong, and what to do.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        card = MarketCard(
            file=file,
            name=_text(content["name"]),
            title=_text(content.get("title", content["name"])),
            about=_text(content.get("about", "")),
            timezone=_text(content.get("timezone", "UTC")),
            feeds=tuple(map(_text, content["feeds"].keys())),
            models=_models(content.get("candidates")),
            frequency=_frequency(content.get("frequency", "D")),
            **{key: _SCHEDULE[key](value) for key, value in content.get("schedule", {}).items() if key in _SCHEDULE},
        )
        well_formed = re.fullmatch("[a-z][a-z0-9_]*", card.name) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", card.at)
        ZoneInfo(card.timezone)
    except OSError as exc:
        msg = f"The market file {file} cannot be read ({exc.strerror}); check its path and permissions."
        raise ValueError(msg) from exc
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, OverflowError) as exc:
        raise ValueError(_no_dag(file, exc)) from exc
    if not well_formed:
        msg = f"{file} needs a name such as 'my_shop' and a quoted time such as \"05:00\" in schedule.at; {_CHECK}"
        raise ValueError(msg)
    return card


def _models(candidates: Mapping[str, Any] | None) -> dict[str, str]:
    if candidates is None:
        return DEFAULT_MODELS
    return {_text(name): _text(settings["model"]) for name, settings in candidates.items()}


def _text(value: object) -> str:
    if not isinstance(value, str):
        msg = f"{value!r} is no text"
        raise TypeError(msg)
    return value


def _frequency(value: object) -> str:
    if value not in {"D", "W"}:
        msg = f"frequency {value!r} is neither 'D' nor 'W'"
        raise ValueError(msg)
    return _text(value)


def _number(value: str | float) -> float:
    """Return a number that is not negative; like `pipeline.market`, take one that is quoted."""
    number = float(value)
    if not number >= 0:
        msg = f"{value!r} is below 0"
        raise ValueError(msg)
    return number


def _whole_number(value: str | float) -> int:
    number = _number(value)
    if not number.is_integer():
        msg = f"{value!r} is no whole number"
        raise ValueError(msg)
    return int(number)


_SCHEDULE: Mapping[str, Callable[[Any], Any]] = {
    "at": _text,
    "retries": _whole_number,
    "retry_delay_seconds": _number,
    "task_timeout_minutes": _whole_number,
}
"""Key of `schedule` -> how its value is read."""

_CHECK = "`trendmill doctor` tells what to mend."


def _no_dag(file: Path, exc: Exception) -> str:
    cause = " ".join(str(exc).split())
    return f"{file} is no market that a DAG can be made of ({type(exc).__name__}: {cause}); {_CHECK}"


def daily_cycle(card: MarketCard) -> DAG:
    """Return the DAG of a market's cycle."""
    with DAG(
        dag_id=card.dag_id,
        description=card.title,
        doc_md=_dag_doc(card),
        # No start date: a DAG that is let go waits for its next night, and catches up with nothing by itself.
        schedule=CronTriggerTimetable(card.cron, timezone=card.timezone),
        catchup=False,
        max_active_runs=1,
        auto_register=False,  # neither of what fails half-way, nor with `broken_markets.py`
        tags=["trendmill", "weekly" if card.is_weekly else "daily", card.name],
        default_args={
            "owner": "trendmill",
            "retries": card.retries,
            "retry_delay": timedelta(seconds=card.retry_delay_seconds),
            "retry_exponential_backoff": True,
            "max_retry_delay": _LONGEST_RETRY_DELAY,
            "execution_timeout": timedelta(minutes=card.task_timeout_minutes),
            "pool": "cpu",
            "queue": "cpu",
        },
    ) as dag:
        first, prepared, judged = _begin(card)(), _preprocess(card)(), _evaluate(card)()
        first >> _feeds(card) >> prepared
        candidates = list(_candidates(card))
        prepared >> candidates >> judged
        if card.ensembles:
            candidates >> _ensembles(card) >> judged
        told = _report(card)()
        judged >> _promote(card)() >> _publish(card)() >> told
        work = list(dag.tasks)
        closed = _close(card)()
        work >> closed
        [*work, closed] >> _watcher()
    return dag


def _begin(card: MarketCard) -> Any:
    @_reporting_task(
        doc_md=_doc(
            "Validates the market, checks the as-of day, and opens the cycle's parent run in MLflow.",
            "The message names the key of the market's YAML, or the date, that is wrong; mend it and clear this task.",
        )
    )
    def begin() -> dict[str, Any]:
        from pipeline.tracking import begin as stage

        return _run(card, stage)

    return begin


def _feeds(card: MarketCard) -> Any:
    @_reporting_task(
        map_index_template=_label("feed"),
        doc_md=_doc(
            "Fetches one feed for this as-of day and its look-back window, and lands it.",
            "The source did not deliver: the message names file or column. Once it is there, clear this task.",
        ),
    )
    def collect(feed: str) -> dict[str, Any]:
        from pipeline.collect import run

        return _run(card, run, feed)

    @_reporting_task(
        map_index_template=_label("feed"),
        doc_md=_doc(
            "Holds the landed batch against its suite in `expectations/`: bad rows go to quarantine, the rest to the "
            "lake, and the ledger `batches` balances.",
            "A blocking rule was broken, and nothing of the batch was taken. Mend the source and clear `collect`, or "
            "change the rule.",
        ),
    )
    def validate(feed: str) -> dict[str, Any]:
        from pipeline.validate import run

        return _run(card, run, feed)

    @task_group(group_id="feeds", tooltip="One feed each: collected, then held against its contract.")
    def feeds(feed: str) -> None:
        collect(feed=feed) >> validate(feed=feed)

    return feeds.expand(feed=list(card.feeds))


def _preprocess(card: MarketCard) -> Any:
    @_reporting_task(
        doc_md=_doc(
            "Reads the facts as they were known on the as-of day and writes the dense panel that all models share.",
            "The message says what an earlier stage should have left; clear that stage, and this one follows.",
        )
    )
    def preprocess() -> dict[str, Any]:
        from pipeline.preprocess import run

        return _run(card, run)

    return preprocess


def _candidates(card: MarketCard) -> Iterator[Any]:
    """Yield a mapped group for the candidates that train on processors, and one for those that train on GPUs."""
    neural = [name for name, model in card.models.items() if model in GPU_MODELS]
    others = [name for name in card.models if name not in (*neural, *card.ensembles)]
    if others:
        yield _candidate_group(card, "candidates", "cpu").expand(candidate=others)
    if neural:
        yield _candidate_group(card, "neural", "gpu").expand(candidate=neural)


def _ensembles(card: MarketCard) -> Any:
    """Return the mapped group for the candidates that average others, which must be there by then."""
    return _candidate_group(card, "ensembles", "cpu").expand(candidate=list(card.ensembles))


def _candidate_group(card: MarketCard, group_id: str, pool: str) -> Any:
    @_reporting_task(
        map_index_template=_label("candidate"),
        pool=pool,
        queue=pool,
        doc_md=_doc(
            "Fits one candidate on the whole panel, calibrates it by its backtest, and logs it to MLflow: parameters, "
            "learning curve, model, inputs. An ensemble averages the members that have been trained before it.",
            "The MLflow run shows how far it came. Another try starts afresh; a candidate that cannot be mended is "
            "taken out of the market's YAML.",
        ),
    )
    def train(candidate: str) -> dict[str, Any]:
        from pipeline.train import run

        return _run(card, run, candidate)

    @_reporting_task(
        map_index_template=_label("candidate"),
        pool=pool,
        queue=pool,
        doc_md=_doc(
            "Forecasts the past from rolling origins, the same ones for every candidate.",
            "As for `train`; the forecasts of an earlier try are replaced.",
        ),
    )
    def backtest(candidate: str) -> dict[str, Any]:
        from pipeline.backtest import run

        return _run(card, run, candidate)

    @task_group(group_id=group_id, tooltip="One candidate each: tested on the past, then trained.")
    def candidates(candidate: str) -> None:
        backtest(candidate=candidate) >> train(candidate=candidate)

    return candidates


def _evaluate(card: MarketCard) -> Any:
    @_reporting_task(
        doc_md=_doc(
            "Compares all candidates on the same rolling origins and reaches the verdict.",
            "A candidate's scores are missing; clear its `backtest`.",
        )
    )
    def evaluate() -> dict[str, Any]:
        from pipeline.evaluate import run

        return _run(card, run)

    return evaluate


def _promote(card: MarketCard) -> Any:
    @_reporting_task(
        doc_md=_doc(
            "Registers the winner and moves the alias `champion` to it. Where a later cycle holds the championship, "
            "the alias stays, the winner only publishes this cycle, and the log says so.",
            "The cycle has no verdict (clear `evaluate`), or MLflow was out of reach (clear this task): a repeat ends "
            "the same.",
        )
    )
    def promote() -> dict[str, Any]:
        from pipeline.evaluate.promote import run

        return _run(card, run)

    return promote


def _publish(card: MarketCard) -> Any:
    @_reporting_task(
        doc_md=_doc(
            "Writes the champion's quantile forecasts as this cycle's vintage.",
            "Clear it: the vintage is written in one commit, or not at all.",
        )
    )
    def publish() -> dict[str, Any]:
        from pipeline.publish import run

        return _run(card, run)

    return publish


def _report(card: MarketCard) -> Any:
    @_reporting_task(
        doc_md=_doc(
            "Draws the cycle's self-contained HTML report and keeps it as an artifact of the MLflow run.",
            "The forecasts are already published; clear this task alone.",
        )
    )
    def report() -> dict[str, Any]:
        from pipeline.publish.report import run

        return _run(card, run)

    return report


def _close(card: MarketCard) -> Any:
    @task(
        trigger_rule=TriggerRule.ALL_DONE,
        doc_md=_doc(
            "Closes the cycle's MLflow run with how the night ended, whatever happened before.",
            "The message is that of `begin`, or MLflow was out of reach; clear this task.",
        ),
    )
    def close() -> None:
        from pipeline.tracking import close as stage

        with _mistakes_are_final():
            stage(_open_cycle(card), succeeded=_all_went_well())

    return close


@task(
    retries=0,
    trigger_rule=TriggerRule.ONE_FAILED,
    doc_md=(
        "Fails when any task has failed, and is skipped otherwise. Without it `close`, which always runs, would make "
        "a failed night look like a good one. There is nothing to mend here: look at the other failed task."
    ),
)
def watcher() -> None:
    """Make a failed task a failed run."""
    msg = "A task of this night failed, so the night has failed."
    raise AirflowFailException(msg)


_watcher = watcher


def _run(card: MarketCard, stage: Callable[..., "StageReport"], *arguments: str) -> dict[str, Any]:
    """Run one stage of this task's cycle; its summary goes to the log, its report to the next tasks."""
    with _mistakes_are_final():
        report = stage(_open_cycle(card), *arguments)
    _LOG.info(report.summary())
    return report.as_dict()


def _open_cycle(card: MarketCard) -> "Cycle":
    from pipeline.cycle import as_of_day, open_cycle

    run = get_current_context()["dag_run"]
    return open_cycle(card.file, as_of_day(run.logical_date, run.run_after, ZoneInfo(card.timezone)))


@contextmanager
def _mistakes_are_final() -> Iterator[None]:
    """Fail at once where trying again cannot help: the message is for a person, who must do something."""
    from pipeline.errors import TrendmillError

    try:
        yield
    except TrendmillError as exc:
        if exc.may_pass:
            raise
        raise AirflowFailException(str(exc)) from exc


def _all_went_well() -> bool:
    """Return whether every other task of this run ended well."""
    context = get_current_context()
    task_instance = context["ti"]
    states = task_instance.get_task_states(dag_id=task_instance.dag_id, run_ids=[task_instance.run_id])
    others = _without(states[task_instance.run_id], ("close", "watcher"))
    return all(state == "success" for state in others)


def _without(states: Mapping[str, Any], tasks: Sequence[str]) -> list[Any]:
    return [state for name, state in states.items() if name not in tasks]


def _label(argument: str) -> str:
    return "{{ task.op_kwargs['" + argument + "'] }}"


def _doc(what: str, when_it_fails: str) -> str:
    return f"{what}\n\n**When it fails:** {when_it_fails}\n"


def _dag_doc(card: MarketCard) -> str:
    feeds, candidates = ", ".join(card.feeds), ", ".join(card.models)
    when, day = ("Every Monday", "Sunday") if card.is_weekly else ("Every night", "day")
    return f"""\
### {card.title}

{card.about}

{when} at {card.at} ({card.timezone}) this DAG runs one *cycle* for the *as-of day*, the last {day} that is over in
the market: it collects and checks the feeds ({feeds}), trains and tests the candidates ({candidates}), lets the best
of them become champion, and publishes its forecasts and a report.

**When a night fails:** open the red task (not `watcher`) and read its last line: it says what is wrong and what to do.
Then clear that task with its downstream. Every task replaces exactly what it wrote, so running one again does no harm.

**A past night:** trigger the DAG with the logical date of the day *after* the as-of day, or use a backfill.

**Pools and queues:** tasks take slots of the pools `cpu` and `gpu` and go to queues of the same names. The embedded
engine makes the pools; elsewhere make them once:
`airflow pools set cpu 4 "one slot a core"` and `airflow pools set gpu 1 "one slot a GPU"`.
"""
