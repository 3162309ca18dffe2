"""Alerts: events become rows of `<pipeline>.alerts`, and messages to a webhook. A stage without assets."""
