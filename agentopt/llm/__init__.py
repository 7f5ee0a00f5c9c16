"""Language models: calling them, and reading what they say."""
