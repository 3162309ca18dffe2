"""The champion at work: batch predictions."""
