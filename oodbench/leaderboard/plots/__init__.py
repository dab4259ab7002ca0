"""Plots of what finished runs left: ROC curves, histograms of scores, training curves.

Each module reads a store, computes what is drawn, and draws it. Nothing here needs data sets or detectors.
"""
