"""Step 1: what to run. Words of the command line or of a suite file become tasks, and every bad word is found here.

Here belongs what decides *which* runs there are and what identifies them. Nothing here computes a score or reads a
store.
"""
