"""Sources -> landed batches: what a feed's source says on the as-of day, put down as it came."""

from pipeline.collect.collect import CollectReport, run
from pipeline.collect.landing import Landed, land, landed, scratch

__all__ = ["CollectReport", "Landed", "land", "landed", "run", "scratch"]
