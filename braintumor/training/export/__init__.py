"""Exports of a trained model: 8-bit quantization, the Keras parity check and the XLA engine."""
