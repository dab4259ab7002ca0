"""The Python API for notebooks, available as public names of ``oodbench`` itself.

This package takes arrays and names from a person, and returns tables and arrays. The work is done by the packages
below: nothing here decides what a score or a run is.
"""
