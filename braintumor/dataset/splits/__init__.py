"""Group images, and split the groups into train, validation and test."""
