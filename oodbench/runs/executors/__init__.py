"""Executors that ship with the core: tasks are worked on in other processes. Others are plugins.

Here belongs how work is handed out and its outcome collected; what a task does is in ``task_runner``.
"""
