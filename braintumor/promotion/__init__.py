"""Record approval decisions on candidates, promote candidates, and roll back."""
