"""Show which predictions would change if a candidate became champion."""
