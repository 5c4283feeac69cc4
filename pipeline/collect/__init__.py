"""Sources -> landed batches: what a feed's source says on the as-of day, put down as it came."""

from pipeline.collect.collect import CollectReport, run
from pipeline.collect.landing import Landed, batches_before, land, landed, remove_batch, scratch

__all__ = ["CollectReport", "Landed", "batches_before", "land", "landed", "remove_batch", "run", "scratch"]
