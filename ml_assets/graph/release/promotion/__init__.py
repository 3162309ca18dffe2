"""Which version is the champion: gates, approvals and the recorded decision."""
