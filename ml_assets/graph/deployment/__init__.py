"""What a move of the champion sets in motion: its release is published, servers and a webhook are told, and batches
that nobody has scored are scored. A stage without assets."""
