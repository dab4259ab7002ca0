"""What plugins can offer, how they are found, and what those that are installed offer.

Here belongs what holds for every plugin: the hooks, the registry of names, whose code it is. The plugins that ship with
the core are in ``oodbench.builtin``; contracts that a plugin must keep are in ``oodbench.testing``.
"""
