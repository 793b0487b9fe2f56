"""People's answers: what waits for them, one frame at a time, and what they say of it."""
