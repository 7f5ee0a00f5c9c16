"""Folders written for other systems, as they are, become tasks: docs/adapters.md says what is read in them."""
