"""What plugins can offer, how they are found, and what the installed ones offer.

This package has what holds for every plugin: the hooks, the registry of names, the source of the code. The plugins that
ship with the core are in ``oodbench.builtin``; contracts that a plugin must keep are in ``oodbench.testing``.
"""
