"""JSON web services: weather, indices, advertising spend and whatever else has an address."""

from pipeline.collect.sources.http.source import Http

__all__ = ["Http"]
