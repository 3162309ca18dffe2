"""Attacks on a project, bounded and on this machine only. Each returns rows of what was tried and how often it held."""
