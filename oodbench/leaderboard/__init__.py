"""Views of results: suites with what came out, tables, pages and figures.

Here belongs how numbers are compared, ranked and shown. Nothing here fits a detector or scores a data set: what is
shown was made before, and ``runs`` does not know this folder.
"""
