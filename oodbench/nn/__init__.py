"""Networks for detectors to build on."""
