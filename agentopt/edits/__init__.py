"""Typed changes of Python source: text in, text out."""
