"""The Python API: what a notebook calls, as the public names of ``oodbench`` itself.

Here belongs what takes arrays and names from a person and gives tables and arrays back. What it does is done by the
wings below: nothing here decides what a score or a run is.
"""
