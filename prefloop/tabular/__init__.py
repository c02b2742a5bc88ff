"""The tabular laboratory: real losses, filters and pairings on a policy of a few outcomes, where the optimum is known.

An outcome is a whole answer to the only prompt. The policy is a softmax over one float64 logit per outcome, so that a
method's exact expectation over all draws, pairs and labels replaces sampling, and its optimum can be solved for.
`python -m prefloop.tabular RECIPE --reference 0.1,0.2,… --reward 0,1,… --json`.
"""
