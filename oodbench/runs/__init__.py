"""Steps 2 to 4: tasks → fitted detectors → scores → metrics, each kept in the store as soon as it is there.

Here belongs what computes. What decides which runs there are is in ``plan``, what a run leaves behind in ``store``, and
how results are shown in ``leaderboard``.
"""
