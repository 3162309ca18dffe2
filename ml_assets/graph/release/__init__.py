"""A trained model becomes the champion, or not: its evaluation on unseen rows, the gates, the recorded decision."""
