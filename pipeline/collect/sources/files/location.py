"""Where a feed's files are: a path or an fsspec URL, expanded and listed."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import fsspec

from pipeline.collect.sources.files.faults import masked, unanswered
from pipeline.errors import ConfigError, SourceError

__all__ = ["Kind", "Location", "SourceFile"]

Kind = Literal["parquet", "csv", "excel"]

_KINDS: dict[str, Kind] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".csv.zst": "csv",
    ".tsv": "csv",
    ".tsv.gz": "csv",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xlsb": "excel",
    ".xls": "excel",
}
_WEB = ("http://", "https://")
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_HIDDEN = (".", "_", "~")
_MAGIC = re.compile(r"[*?\[]")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_BLOCK_BYTES = 8 * 2**20
"""How much is read ahead of an object store's file; s3fs's own 50 MB would be paid for each file and thread."""


@dataclass(frozen=True)
class SourceFile:
    """One file, under the name by which it is opened."""

    path: str
    kind: Kind
    name: str
    """For messages: relative to the market's file where it lies beside it, without credentials."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Partition keys in the folders' names: `date=2024-01-31` gives the column `date` its value."""


@dataclass(frozen=True)
class Location:
    """A path in a market's YAML: a file, a folder or a glob."""

    text: str
    """As the YAML has it, with `${NAME}` and `${NAME:-default}` taken from the environment."""
    base: Path
    """Where relative paths start."""
    market: str
    """Whose it is, for messages."""

    @cached_property
    def opened(self) -> tuple[Any, str]:
        """The file system, None for local files, and the path in it.

        It belongs to this location alone: listings that were kept from another night would be stale.

        Raises:
            ConfigError: if a variable of the path is not set, or nothing can open such a URL.
        """
        path = self._expanded()
        if path.startswith("file://"):
            path = path.removeprefix("file://")
        if "://" not in path:
            return None, str(self.base / Path(path).expanduser())
        options = {"default_block_size": _BLOCK_BYTES} if path.startswith(("s3://", "s3a://")) else {}
        try:
            filesystem, _ = fsspec.core.url_to_fs(path, skip_instance_cache=True, **options)
        except (ValueError, ImportError) as exc:
            msg = (
                f"The market '{self.market}' reads '{masked(path)}', which nothing here can open ({exc}); give another "
                f"URL, or install what opens it."
            )
            raise ConfigError(msg) from exc
        if path.startswith(_WEB):
            # DuckDB asks each file for its age, which the web does not tell.
            filesystem.modified = lambda _: _LONG_AGO
        return filesystem, path

    @cached_property
    def files(self) -> tuple[SourceFile, ...]:
        """The files in the order of their names; of a folder, those of known kinds at any depth.

        Raises:
            SourceError: if there is none, or they are of different kinds.
            SourceUnavailableError: if the store that has them does not answer.
        """
        filesystem, path = self.opened
        found = _local(Path(path)) if filesystem is None else self._remote(filesystem, path)
        if not found:
            where = "beside it " if filesystem is None else ""
            msg = (
                f"The market '{self.market}' reads '{masked(self.text)}', but there is no such file {where}"
                f"({masked(path)}); put it there, or correct the path."
            )
            raise SourceError(msg)
        kinds = {_kind(file) for file in found}
        kind = kinds.pop()
        if kinds or kind is None:
            names = ", ".join(Path(file).name for file in found[:3])
            msg = (
                f"The market '{self.market}' reads '{masked(self.text)}', which must be files of one kind "
                f"({', '.join(_KINDS)}); found {names}."
            )
            raise SourceError(msg)
        return tuple(SourceFile(file, kind, self._name(file), _keys(file)) for file in found)

    def _name(self, file: str) -> str:
        path = Path(file)
        return masked(file) if "://" in file or not path.is_relative_to(self.base) else str(path.relative_to(self.base))

    def _expanded(self) -> str:
        def value(found: re.Match[str]) -> str:
            name, default = found.groups()
            text = os.environ.get(name) or default
            if text is None:
                msg = (
                    f"The market '{self.market}' reads '{self.text}', but the environment variable {name} is not set; "
                    f"set it to the files' path."
                )
                raise ConfigError(msg)
            return text

        return _VARIABLE.sub(value, self.text)

    def _remote(self, filesystem: Any, path: str) -> list[str]:  # noqa: ANN401 - fsspec has no types
        try:
            if _MAGIC.search(path) and not path.startswith(_WEB):
                found = filesystem.glob(path)
            elif filesystem.info(path)["type"] == "directory":
                found = [name for name in filesystem.find(path) if _is_data(name, path)]
            else:
                found = [filesystem._strip_protocol(path)]  # noqa: SLF001 - the name by which DuckDB will find it
        except FileNotFoundError as exc:
            # A web server that does not answer, or answers anything but 404, is no missing file.
            if path.startswith(_WEB) and getattr(exc.__cause__, "status", None) not in {404, 410}:
                raise unanswered(exc.__cause__ or exc, f"'{masked(path)}' of the market '{self.market}'") from exc
            return []
        except Exception as exc:
            raise unanswered(exc, f"'{masked(path)}' of the market '{self.market}'") from exc
        return sorted(filesystem.unstrip_protocol(name) for name in found)


def _local(path: Path) -> list[str]:
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.is_file() and _is_data(str(file), str(path))]
    elif path.is_file():
        found = [path]
    else:
        found = [file for file in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if file.is_file()]
    return sorted(str(file) for file in found)


def _is_data(name: str, folder: str) -> bool:
    """Return whether a file in a folder is meant to be read: of a known kind, and not hidden, as in Spark and Hive."""
    root = folder.rsplit("://", maxsplit=1)[-1].strip("/")
    inside = name[name.find(root) + len(root) :]
    return _kind(name) is not None and not any(part.startswith(_HIDDEN) for part in inside.split("/") if part)


def _kind(name: str) -> Kind | None:
    name = name.lower()
    return next((kind for ending, kind in _KINDS.items() if name.endswith(ending)), None)


def _keys(path: str) -> dict[str, str]:
    pairs = (part.split("=", 1) for part in path.split("/")[:-1] if re.fullmatch(r"\w+=[^=]*", part))
    return {name: unquote(value) for name, value in pairs}
