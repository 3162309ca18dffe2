"""A version as a release: packed with all that a server needs, started and tested."""
