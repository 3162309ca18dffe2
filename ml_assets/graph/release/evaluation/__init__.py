"""How good a trained model is, on rows that it has never seen."""
