"""Trendmill's library: everything that knows about demand, in the order in which data flows through a night."""

__version__ = "0.1.0"
