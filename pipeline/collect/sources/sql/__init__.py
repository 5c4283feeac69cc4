"""SQL databases, warehouses and Spark: lines are filtered and summed up where they lie."""

from pipeline.collect.sources.sql.source import Sql

__all__ = ["Sql"]
