"""What MLflow loads when it loads a forecaster: a model from code, around files that hold no pickle.

Its input is a frame with one row: `panel`, the folder of a saved panel, and `origin`, the last day to know. Its
output is the long frame of the forecast: `unique_id, ds, origin, lead, mean, q0.1 ... q0.9`.
"""

from datetime import date
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from pipeline import models
from pipeline.models.frame import long_frame
from pipeline.preprocess import Panel

__all__ = ["ServedForecaster"]


class ServedForecaster(mlflow.pyfunc.PythonModel):
    """A fitted forecaster behind MLflow's pyfunc interface."""

    def load_context(self, context: Any) -> None:  # noqa: ANN401 - MLflow's own type is generated
        """Load the forecaster from the run's artifacts."""
        self._forecaster = models.load(Path(context.artifacts["forecaster"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:  # noqa: ANN401
        """Return the forecast of the panel that the input names."""
        row = model_input.iloc[0]
        panel = Panel.load(Path(row["panel"]))
        forecast = self._forecaster.predict(panel, date.fromisoformat(str(row["origin"])[:10]), panel.horizon)
        return long_frame(forecast).to_pandas()


mlflow.models.set_model(ServedForecaster())
