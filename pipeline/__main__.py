"""`python -m pipeline`: the same as `trendmill`."""

from pipeline.cli import main

main()
