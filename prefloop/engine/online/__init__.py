"""On-policy training: sampling, labelling and training in one process, a step at a time."""
