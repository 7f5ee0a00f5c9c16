"""What optimizers say to a model: templates with declared slots, filled to a token budget; docs/prompts.md."""
