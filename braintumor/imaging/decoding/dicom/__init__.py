"""Decode DICOM objects: header values, compressed frames and stored values."""
