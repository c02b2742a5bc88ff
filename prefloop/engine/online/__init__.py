"""Step-refreshed training: sampling, labelling and learning in one process, a step at a time."""
