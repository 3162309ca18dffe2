"""The scoring server: a release answers rows over HTTP, in the way in which batches are scored.

requests   a request's rows, checked against the release's schema while they are parsed
features   rows to features: the same SELECT, or the same function, that batches go through
scorer     a loaded release: features, model, decisions
app        the routes
connection one connection, with its deadlines and bounds
process    a server process: socket, loading, running until it is told to end
follow     a project's champion, as its alias moves

`python -m ml_assets.server FOLDER` needs no Dagster, no pydantic and no project: a release holds all that it takes.
"""
