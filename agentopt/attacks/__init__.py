"""Attacks on the sandbox: what ``doctor`` runs and, with more of their kind, what the hostile tests run."""
