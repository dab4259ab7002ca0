"""The record: what runs leave behind, in a folder or at any fsspec address.

Here belongs how it is named, laid out, read and checked. What the numbers mean is in ``runs`` and ``leaderboard``.
"""
