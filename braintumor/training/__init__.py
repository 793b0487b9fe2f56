"""Train models from recipes. Only this package imports Keras, and only inside functions."""
