"""What ``evolve`` remembers and how it decides: islands, forms of edits, plans and what was tried; nothing here asks a model."""
