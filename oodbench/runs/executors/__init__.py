"""Where tasks are worked on: several at once, in other processes.

Here belongs how work is handed out and its outcome collected; what a task does is in ``task_runner``.
"""
