"""Features of the kinds of task: rows as sequences of tokens with their targets."""
