"""The record of what a workflow did, as a graph that optimizers can read."""
