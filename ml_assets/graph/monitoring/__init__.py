"""Is the world still as the champion knows it: drift of features and predictions."""
