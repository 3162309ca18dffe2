"""Pure functions over frames, arrays and models that stages and the scoring server share. No Dagster, no lake."""
