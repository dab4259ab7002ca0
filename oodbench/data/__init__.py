"""From a data set's name to its images: decoding, the cache of decoded images, resizing, comparison.

It belongs here if it holds for every data set. Where one data set's files lie and how they are read belongs into the
plugin that offers it, as in ``oodbench.builtin``; what is fitted to the images, and planned with them, above.
"""
