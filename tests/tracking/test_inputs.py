"""What MLflow is told of a candidate's inputs."""

import pyarrow as pa
import pytest

from pipeline import tracking
from pipeline.cycle import Home, open_cycle
from pipeline.tracking.client import connect
from tests.conftest import AS_OF, MarketWriter


@pytest.mark.slow
def test_inputs_are_recorded_without_the_credentials_of_the_lake(
    small_market: MarketWriter, home: Home, s3: str
) -> None:
    root = f"{s3.replace('://', '://someone:hidden@')}/lake"
    candidates = {"seasonal_naive": {"model": "seasonal_naive"}}
    cycle = open_cycle(small_market(candidates=candidates), AS_OF, Home(home.path, root))
    cycle.lake.attempt("facts/sales", cycle=AS_OF).commit(pa.table({"item": ["a"]}))
    tracking.begin(cycle)
    run = tracking.candidate_run(cycle, "seasonal_naive")
    run.log_inputs({"panel": "abc", "facts/sales": "1"})
    (recorded,) = connect(cycle).get_run(run.run_id).inputs.dataset_inputs
    assert recorded.dataset.source == f'{{"uri": "{cycle.lake.place}/facts/sales"}}'
    assert "***@" in recorded.dataset.source
    assert "hidden" not in str(connect(cycle).get_run(run.run_id).to_dictionary())
