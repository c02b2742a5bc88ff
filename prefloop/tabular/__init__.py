"""The tabular laboratory: real losses, filters and pairings on a policy of a few outcomes, where the optimum is known.

An outcome is a whole answer to the one prompt there is. The policy is a softmax over one float64 logit an outcome, so
that a method's expectation over all draws, pairs and labels can be taken in place of sampled, and its optimum solved.
`python -m prefloop.tabular RECIPE --reference 0.1,0.2,… --reward 0,1,… --json`.
"""
