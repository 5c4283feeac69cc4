"""The adapter: asks page by page, and stops where a service repeats itself or never ends."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import jmespath
import pyarrow as pa

from pipeline.collect.sources.base import Window
from pipeline.collect.sources.http.answers import Reader, kept, parsed
from pipeline.collect.sources.http.client import Client
from pipeline.errors import ConfigError, SourceError
from pipeline.feeds import Feed, Grain
from pipeline.market import Market
from pipeline.sources import HttpSource

__all__ = ["Http"]


class Http:
    """A feed that a web service tells."""

    def __init__(self, settings: HttpSource, market: Market) -> None:
        self._settings = settings
        self._market = market
        address = httpx.URL(settings.url.partition("?")[0])
        self._about = f"The service {address.scheme}://{address.host}{address.path} of the market '{market.name}'"

    def grain(self, feed: Feed) -> Grain:
        """Return `lines` where a column that only raw lines have is mapped, else `facts`.

        Raises:
            ConfigError: if a column or a variable is mapped that the feed does not have.
        """
        is_lines = bool(feed.line_marks) and set(feed.line_marks) <= set(self._settings.columns)
        grain: Grain = "lines" if is_lines else "facts"
        known = feed.landed_schema(grain).names
        for column in self._settings.columns:
            if column not in known:
                msg = (
                    f"feeds.{feed.name}.columns of the market '{self._market.name}' names '{column}', which is no "
                    f"column of that feed; it has {', '.join(known)}."
                )
                raise ConfigError(msg)
        if self._settings.variables and feed.name != "market":
            msg = (
                f"feeds.{feed.name}.variables of the market '{self._market.name}' is only for the feed 'market'; "
                f"give 'columns' instead."
            )
            raise ConfigError(msg)
        return grain

    def fetch(self, feed: Feed, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the feed's rows of the window and those without a day, a batch a page.

        Raises:
            SourceError: if the service refuses, lies, or lacks what the contract requires.
            SourceUnavailableError: if it does not answer, or breaks off.
        """
        settings = self._settings
        reader = Reader(settings, feed, self.grain(feed), self._market.zone, self._about)
        headers, parameters = self._from_environment(settings.headers), self._from_environment(settings.parameters)
        secret = {**headers, **parameters} != {**settings.headers, **settings.parameters}
        columns = feed.landed_schema(reader.grain).names
        with closing(Client(settings, self._about, headers, secret=secret)) as client:
            for entry in settings.each or ({},):
                constants = {name: value for name, value in entry.items() if name in columns}
                for since, until in _pieces(window, settings.days_a_request if feed.day else None):
                    words = {"since": str(since), "until": str(until), **entry}
                    for records in self._pages(client, reader, self._url(parameters, words)):
                        yield kept(reader.batch(records, constants), feed.day, since, until)

    def _pages(self, client: Client, reader: Reader, url: httpx.URL) -> Iterator[list[Any]]:
        """Yield the records of each page.

        Raises:
            SourceError: if a page comes again, or pages never end.
        """
        settings = self._settings
        counted = settings.page_parameter is not None and settings.next_page is None
        following: httpx.URL | None = url
        if counted:
            following = url.copy_set_param(str(settings.page_parameter), str(settings.first_page))
        seen: set[object] = set()
        for number in range(settings.max_pages):
            if following is None:
                return
            answer = client.get(following)
            content = parsed(answer.body, self._about)
            records = reader.records(content)
            if counted and not records:
                return
            self._refuse_repeated(seen, following, records)
            yield records
            if counted:
                page = settings.first_page + number + 1
                following = url.copy_set_param(str(settings.page_parameter), str(page))
            else:
                following = self._following(client, content, url, following)
        if following is not None:
            msg = (
                f"{self._about} has more than {settings.max_pages:,} pages; check how they are counted, or raise "
                f"'max_pages'."
            )
            raise SourceError(msg)

    def _following(self, client: Client, content: Any, first: httpx.URL, now: httpx.URL) -> httpx.URL | None:  # noqa: ANN401
        """Return the URL of the next page, if there is one."""
        found = jmespath.search(self._settings.next_page, content) if self._settings.next_page else None
        if found in (None, "", False):
            return None
        if self._settings.page_parameter is not None:
            return first.copy_set_param(self._settings.page_parameter, str(found))
        if not isinstance(found, str):
            msg = f"{self._about} names no URL as its next page; give 'page_parameter' if it is a cursor."
            raise SourceError(msg)
        following = now.join(found)
        client.refuse_stranger(following, now)
        return following

    def _refuse_repeated(self, seen: set[object], url: httpx.URL, records: list[Any]) -> None:
        digest = hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()
        if str(url) in seen or (records and digest in seen):
            msg = f"{self._about} gives the same page again; check how its pages are named in the market's file."
            raise SourceError(msg)
        seen |= {str(url), digest}

    def _url(self, parameters: Mapping[str, str], words: Mapping[str, str]) -> httpx.URL:
        address = httpx.URL(_filled(self._settings.url, {word: quote(text, safe="") for word, text in words.items()}))
        return address.copy_merge_params({name: _filled(value, words) for name, value in parameters.items()})

    def _from_environment(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return the values with those of the environment where they begin with a dollar sign.

        Raises:
            ConfigError: if the environment lacks one.
        """
        filled = {}
        for name, value in values.items():
            if value.startswith("$"):
                found = os.environ.get(value[1:])
                if not found:
                    msg = (
                        f"The environment variable '{value[1:]}' is not set, but {self._about.removeprefix('The ')} is "
                        f"asked with it as '{name}'; set it."
                    )
                    raise ConfigError(msg)
                filled[name] = found
            else:
                filled[name] = value
        return filled


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", value)
    return text


def _pieces(window: Window, days: int | None) -> Iterator[tuple[date, date]]:
    """Yield the first and last days of a window's pieces."""
    since, step = window.since, timedelta(days=days or (window.until - window.since).days + 1)
    while since <= window.until:
        yield since, min(since + step - timedelta(days=1), window.until)
        since += step
