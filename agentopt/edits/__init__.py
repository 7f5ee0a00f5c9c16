"""Typed changes of what a candidate holds: values in, values out; pure, and deterministic given a generator."""
