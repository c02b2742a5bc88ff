"""Pages on judges: what they are, how far they can be trusted, their verdicts, and running them."""
