"""What is kept: the lake, and the registry of models in it. Nothing here knows Dagster, Evidently or scikit-learn."""
