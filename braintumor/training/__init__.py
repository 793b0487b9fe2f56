"""Recipes, backbones and training: the only package that imports keras, and only inside functions."""
