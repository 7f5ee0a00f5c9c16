"""Language models: calling them, reading what they say."""
