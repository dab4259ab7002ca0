"""What ``oodbench new`` writes: packages of plugins that already work, to be edited.

Here belong the templates, and what checks a name and fills them in. What a plugin must keep is in ``oodbench.testing``.
"""
