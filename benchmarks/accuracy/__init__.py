"""Measure the accuracy of every backbone on folds by files, by near-duplicate groups and by persons."""
