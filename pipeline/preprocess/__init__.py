"""Facts as of a day -> Panel: which series are forecast, and what a forecaster may see of them."""

from pipeline.preprocess.panel import Panel
from pipeline.preprocess.preprocess import PreprocessReport, load_panel, run

__all__ = ["Panel", "PreprocessReport", "load_panel", "run"]
