"""Spools: rows that come in pieces and are committed to the lake at once, kept on disk meanwhile."""

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

__all__ = ["Spool"]


class Spool:
    """A Parquet file that rows are appended to; when it is closed it can be read as a dataset."""

    def __init__(self, file: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._file = file
        self._schema = schema
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def append(self, rows: pa.Table) -> None:
        """Append rows of the spool's columns."""
        if rows.num_rows:
            self._writer.write_table(rows.select(self._schema.names).cast(self._schema))
            self.rows += rows.num_rows

    def dataset(self) -> ds.Dataset:
        """Return all rows, in the order in which they came."""
        return ds.dataset(self._file, schema=self._schema)
