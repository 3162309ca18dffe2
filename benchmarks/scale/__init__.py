"""What one machine takes: many rows, many batches, many pipelines. `make bench-scale` prints the tables."""
