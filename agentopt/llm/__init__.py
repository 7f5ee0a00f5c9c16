"""Language models: what they say, and what of it can be used."""
