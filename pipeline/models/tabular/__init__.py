"""Tabular forecasters: one shared feature table, direct over the horizon, global over all series."""
