"""Trainings copied to an experiment tracker, for people who compare them there. The lake stays the record."""
