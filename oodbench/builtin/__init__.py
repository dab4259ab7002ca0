"""The data sets and metrics that ship with the core, as plugins that use the same hooks as all others.

A data set belongs here if anybody can get it, and it needs no package of its own. Detectors do not belong here: each
has its plugin in ``plugins/``. Nor does code that all data sets need: that is in ``oodbench.data``.
"""
