"""holdall beside its peers, in one run, in turn; `make bench-peers` runs it.

`model` says what a scenario, a contender and a target are; `adapters/` has one file for each peer,
`scenarios/` one for each group of questions; `runner` measures, `verdicts` judges, `report` writes.
"""
