"""No DAG: this file fails to import, with a sentence, for each market that no DAG can be made of.

Airflow shows that as an import error. It stands in a file of its own because an import error takes away every DAG of
its file, and the other markets' nights shall go on.
"""

from trendmill_factory import build_dags

if _problems := build_dags().problems:
    raise ImportError("\n".join(_problems))
