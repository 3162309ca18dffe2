"""What a new champion sets in motion: its release is published, servers and a webhook are notified, and batches that
were never scored are scored. A stage without assets."""
