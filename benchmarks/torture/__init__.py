"""Attacks on what ml_assets promises; `make torture` runs them and prints what was tried and what held.

Every attack is a function that returns an `Outcome`. It works in a folder of its own, on this machine only, and ends by
itself. `__main__.py` lists them; docs/explanation/reliability.md has the last table.
"""
