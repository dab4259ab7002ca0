"""Step 1: what to run. Words of the command line or of a suite file become tasks; invalid words are reported here.

This package decides *which* runs there are and what identifies them. Nothing here computes a score, and only
``origins`` reads a store.
"""
