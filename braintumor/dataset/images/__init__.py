"""Read labeled images from S3 and local folders, and measure them."""
