"""A root may hold credentials; what is shown or recorded of it does not."""

import pytest

from pipeline.errors import StageError
from pipeline.lake import Lake


@pytest.mark.parametrize(
    ("root", "shown"),
    [
        ("/data/lake/small", "/data/lake/small"),
        ("s3://bucket/lake/small", "s3://bucket/lake/small"),
        ("s3://someone:hidden@bucket/lake/small", "s3://***@bucket/lake/small"),
        ("s3://someone:hid@den@bucket/lake/small", "s3://***@bucket/lake/small"),
        ("s3://bucket/lake?key=hidden/small", "s3://bucket/lake?..."),
    ],
)
def test_the_place_of_a_lake_names_no_credentials(root: str, shown: str) -> None:
    lake = Lake(root)
    assert lake.place == shown
    assert repr(lake) == f"Lake({shown!r})"


@pytest.mark.slow
def test_no_message_names_credentials(s3: str) -> None:
    lake = Lake(f"{s3.replace('://', '://someone:hidden@')}/lake/small")
    with pytest.raises(StageError) as told:
        lake.read("t")
    assert lake.place in str(told.value)
    assert "hidden" not in str(told.value)
