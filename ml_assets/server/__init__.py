"""The scoring server: releases answer rows over HTTP, in the way in which batches are scored.

From the socket inwards:

process, workers          a server process, or several that share a port
connection, bodies        one connection with its deadlines and bounds; the bodies that are arriving
app, keys, problems       the routes; who may use them; how a request is refused
requests, constraints     a request's rows, checked against the release's schema and its columns' constraints
registry, lanes           pipelines and their versions; where and when rows are scored
scorer, explain           a loaded release, and what moved a score
engines                   which of the two computes features: `features` on DuckDB, `features_sqlite`; `parity` compares
keeping, prediction_log   what is kept of each request, before it is answered
counting, prometheus      what is counted
service, follow, loading  what is served: one release, or a project's versions and lookups as they change
describe, openapi, page, docs_page   what programs and people read about it
pyfunc                    a release as MLflow's model of raw rows

`python -m ml_assets.server FOLDER` needs no Dagster, no pydantic and no project: a release holds all that it takes.
"""
