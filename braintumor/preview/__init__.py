"""Show which predictions would change if a candidate became champion. Shadow predictions are never shown as current."""
