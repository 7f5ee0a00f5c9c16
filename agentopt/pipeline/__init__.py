"""Workflows that people already have, improved while they use them."""
