"""Answers: reading them, sampling more, and making comparisons of them."""
