"""Validated batches become features: point-in-time lookups, and the pipeline's SELECT without a way to leak."""
