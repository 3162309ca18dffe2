"""Features become a model: the pinned training set, one tuned candidate per algorithm, the best of them refit."""
