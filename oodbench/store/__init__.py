"""The record: what runs leave behind, in a folder or at any fsspec address.

This package has how it is named, laid out, read and checked. What the numbers mean is in ``runs`` and ``leaderboard``.
"""
