"""Studies: findings of papers as declarations, and the statistics that decide whether a finding held. Torch-free.

A study says which recipes run with which settings and seeds, what is measured, and which claims its finding makes.
`decide` reads the measurements and gives one verdict: held, did not hold, or not decidable at this size.
"""
