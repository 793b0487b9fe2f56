"""Decode MR DICOM objects."""
