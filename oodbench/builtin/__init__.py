"""The data sets and metrics that ship with the core, as plugins that use the same hooks as anyone's.

A data set belongs here if anybody can have it, without a package of its own. Detectors do not: each has its plugin in
``plugins/``. Nor does what all data sets need: that is in ``oodbench.data``.
"""
