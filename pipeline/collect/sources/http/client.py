"""Asking a web service that may be slow, busy, broken or lying: patiently, but not for ever."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from pipeline.errors import SourceError, SourceUnavailableError
from pipeline.sources import HttpSource

__all__ = ["Answer", "Client"]

_LONGEST_PAUSE_SECONDS = 60
_MOST_REDIRECTS = 5
_MEGABYTE = 10**6
_BUSY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_DENIED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
_PERHAPS_JSON = ("json", "text/plain", "octet-stream", "javascript")
"""Parts of the content types that JSON is sent as; no type at all is another."""


class _TryAgainError(Exception):
    """A request failed in a way that may pass."""

    def __init__(self, cause: str, after_seconds: float | None = None) -> None:
        super().__init__(cause)
        self.after_seconds = after_seconds


@dataclass(frozen=True)
class Answer:
    """The body of an answer, and the URL that it came from in the end."""

    url: httpx.URL
    body: bytes


class Client:
    """A connection to one service, with its rate limit, its patience and its time limit.

    Args:
        settings: the limits.
        about: what a message calls the service.
        headers: sent with each request.
        secret: whether a request carries a secret, which no other host may see.
    """

    def __init__(self, settings: HttpSource, about: str, headers: Mapping[str, str], *, secret: bool) -> None:
        self._settings = settings
        self._about = about
        self._secret = secret
        # They would log each URL and header, and with them the secret.
        for talkative in ("httpx", "httpcore"):
            logging.getLogger(talkative).setLevel(logging.WARNING)
        self._client = httpx.Client(timeout=settings.timeout_seconds, headers=dict(headers))
        self._deadline = time.monotonic() + settings.total_seconds
        self._asked_at = -float("inf")

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def get(self, url: httpx.URL) -> Answer:
        """Return the answer to a request.

        Raises:
            SourceError: if the service refuses, or answers with what cannot be JSON.
            SourceUnavailableError: if it does not answer after all tries, or time is up.
        """
        retrying = Retrying(
            stop=stop_after_attempt(self._settings.tries),
            wait=self._pause,
            retry=retry_if_exception_type(_TryAgainError),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._followed, url)
        except _TryAgainError as exc:
            msg = f"{self._about} {exc}, after {self._tries()}; check that it runs, and try again."
            raise SourceUnavailableError(msg) from exc

    def refuse_stranger(self, url: httpx.URL, asked: httpx.URL) -> None:
        """Refuse to carry a secret to another host, or out of an encrypted connection.

        Raises:
            SourceError: if the URL is one of those.
        """
        same = (url.scheme, url.host, url.port) == (asked.scheme, asked.host, asked.port)
        encrypted = (url.scheme, url.host, url.port, asked.port) == ("https", asked.host, None, None)
        if self._secret and not (same or encrypted):
            msg = (
                f"{self._about} sends us on to {url.scheme}://{url.host}, which must not see the secret that is sent "
                f"along; give that address in the market's file if it is right."
            )
            raise SourceError(msg)

    def _followed(self, url: httpx.URL) -> Answer:
        """Return the answer where redirects lead to."""
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._once(url)
            if isinstance(answer, Answer):
                return answer
            self.refuse_stranger(answer, url)
            url = answer
        msg = f"{self._about} sends us on and on; check its address in the market's file."
        raise SourceError(msg)

    def _once(self, url: httpx.URL) -> Answer | httpx.URL:
        """Return the answer to one request, or the URL that it redirects to."""
        self._wait_for_turn()
        started = time.monotonic()
        try:
            with self._client.stream("GET", url) as response:
                if response.is_redirect and response.next_request is not None:
                    return response.next_request.url
                self._refuse_failure(response)
                self._refuse_type(response)
                return Answer(url, self._body(response, started))
        except httpx.TimeoutException as exc:
            raise _TryAgainError(self._too_slow()) from exc
        except (httpx.TransportError, httpx.DecodingError) as exc:
            if "CERTIFICATE_VERIFY_FAILED" in str(exc):
                msg = f"{self._about} shows a certificate that cannot be verified; check its address."
                raise SourceError(msg) from exc
            cause = "does not answer" if isinstance(exc, httpx.ConnectError) else "broke off"
            raise _TryAgainError(cause) from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            msg = f"{self._about} cannot be asked ({type(exc).__name__}); check its address in the market's file."
            raise SourceError(msg) from exc

    def _body(self, response: httpx.Response, started: float) -> bytes:
        """Return the body, unless it is too large or drips in too slowly."""
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > self._settings.max_megabytes * _MEGABYTE:
                msg = (
                    f"{self._about} answers with more than {self._settings.max_megabytes:g} MB; ask for less, or raise "
                    f"'max_megabytes'."
                )
                raise SourceError(msg)
            if time.monotonic() - started > self._settings.timeout_seconds:
                raise _TryAgainError(self._too_slow())
        return bytes(body)

    def _refuse_failure(self, response: httpx.Response) -> None:
        code = response.status_code
        if response.is_success:
            return
        said = f"answers {code} {response.reason_phrase}".rstrip()
        if code in _BUSY or response.is_server_error:
            raise _TryAgainError(said, _named_pause(response))
        check = (
            "the secret that is sent along" if code in _DENIED else "its address and parameters in the market's file"
        )
        msg = f"{self._about} {said}; check {check}."
        raise SourceError(msg)

    def _refuse_type(self, response: httpx.Response) -> None:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind and not any(part in kind for part in _PERHAPS_JSON):
            msg = f"{self._about} answers with {kind} instead of JSON; check its address in the market's file."
            raise SourceError(msg)

    def _pause(self, state: RetryCallState) -> float:
        """Return how long to wait before the next try: what the service asks for, or ever longer, with jitter."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, _TryAgainError) and error.after_seconds is not None:
            return error.after_seconds
        growing = wait_random_exponential(multiplier=self._settings.pause_seconds, max=_LONGEST_PAUSE_SECONDS)
        return growing(state)

    def _wait_for_turn(self) -> None:
        """Keep the rate limit."""
        self._sleep(self._asked_at + 1 / self._settings.requests_a_second - time.monotonic())
        self._asked_at = time.monotonic()

    def _sleep(self, seconds: float) -> None:
        if time.monotonic() + max(seconds, 0) > self._deadline:
            msg = (
                f"{self._about} keeps us longer than {self._settings.total_seconds:g} seconds in all; try again later, "
                f"or raise 'total_seconds'."
            )
            raise SourceUnavailableError(msg)
        if seconds > 0:
            time.sleep(seconds)

    def _too_slow(self) -> str:
        return f"gives no whole answer within {self._settings.timeout_seconds:g} seconds"

    def _tries(self) -> str:
        return "1 try" if self._settings.tries == 1 else f"{self._settings.tries} tries"


def _named_pause(response: httpx.Response) -> float | None:
    """Return the seconds of the header Retry-After, which are a number or a date."""
    named: Any = response.headers.get("retry-after", "")
    if named.isdigit():
        return float(named)
    try:
        until = parsedate_to_datetime(named)
        now = parsedate_to_datetime(response.headers["date"]) if "date" in response.headers else datetime.now(UTC)
        return max((until - now).total_seconds(), 0)
    except (TypeError, ValueError):
        return None
