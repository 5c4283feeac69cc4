"""Rolling origins: what each candidate would have said in the past, beside what came."""

from pipeline.backtest.backtest import BacktestReport, run
from pipeline.backtest.origins import origins
from pipeline.backtest.read import past_forecasts

__all__ = ["BacktestReport", "origins", "past_forecasts", "run"]
