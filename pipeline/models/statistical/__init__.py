"""Statistical forecasters: each series, or each group of series, by itself."""
