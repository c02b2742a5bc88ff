"""Pages for answers: reading them, sampling more, and pairing them."""
