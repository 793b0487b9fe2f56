"""Groups of images, and their split into train, validation and test."""
