"""Judges: what they are, how far they can be believed, what they said, and asking them."""
