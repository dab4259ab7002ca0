"""From a data set's name to its images: decoding, the cache of decoded images, resizing, comparison.

This package has what holds for every data set. Where one data set's files are and how they are read belongs in the
plugin that offers it, as in ``oodbench.builtin``; planning and fitting belong in the packages that use this one.
"""
