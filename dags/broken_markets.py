"""No DAG: this file fails to import, with a sentence, while a market's YAML cannot be read.

Airflow shows that as an import error. It stands in a file of its own because an import error takes away every DAG of
its file, and the other markets' nights shall go on.
"""

from trendmill_factory import find_markets

if _problems := find_markets().problems:
    raise ImportError(" ".join(_problems))
