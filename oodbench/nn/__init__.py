"""Networks, training loops and base classes that detectors are built from."""
