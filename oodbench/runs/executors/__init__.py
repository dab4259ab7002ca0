"""Executors that ship with the core, which run tasks in other processes. Other executors are plugins.

This package hands out tasks and collects their outcomes; what a task does is in ``task_runner``.
"""
