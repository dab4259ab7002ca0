"""Networks, training loops and base classes that detectors are built from.

Here belongs what several detectors share, and what authors of others can build on. What one detector alone needs is in
its plugin. No step of a run imports this folder.
"""
