"""The one place that decides whether to train: evidence, what came of earlier trainings, and the rules of the YAML."""
