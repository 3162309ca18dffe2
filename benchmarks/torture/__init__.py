"""Attacks on a project, from a seed, that anyone can repeat."""
