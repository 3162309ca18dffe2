"""Benchmarks: what the project costs beyond the work itself. Each module is run with `python -m benchmarks.NAME`."""
