"""Plots of finished runs: ROC curves, histograms of scores, training curves, average ranks.

Everything is computed from stored or published results. Nothing here needs data sets or detectors.
"""
