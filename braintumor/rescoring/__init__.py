"""Score old scans with another model beside the old rows: who asks, exactly once, and which standing answers changed."""
