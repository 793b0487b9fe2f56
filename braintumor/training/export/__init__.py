"""Export a trained model in 8 bits, compare it with Keras, and run it with XLA."""
