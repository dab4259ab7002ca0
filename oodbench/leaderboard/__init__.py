"""Views of results: suites with their published results, tables, pages and figures.

This package compares, ranks and shows numbers that were computed before; only ``rerun`` calls ``runs`` to fit again.
``runs`` does not import this package.
"""
