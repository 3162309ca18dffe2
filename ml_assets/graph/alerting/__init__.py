"""People are told what they must know: events become rows of `<pipeline>.alerts`, and messages to a webhook. A stage
without assets."""
