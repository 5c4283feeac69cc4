"""CSV, Parquet and Excel files: one file, a folder or a glob, local or behind any fsspec URL."""

from pipeline.collect.sources.files.files import Files

__all__ = ["Files"]
