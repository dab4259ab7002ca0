"""Steps 2 to 4: tasks → fitted detectors → scores → metrics, each stored as soon as it is computed.

This package computes. ``plan`` decides which runs there are, ``store`` keeps what they produce, and ``leaderboard``
shows the results.
"""
