"""Moving what a project has stored: from a folder into a bucket, back, or from one bucket to another.

`plan` says what is to be moved and what is not, `ends` reads and writes both stores, `looking` counts and finds what is
in the way, `copying` copies and compares, `ledger` remembers, `records` reads and rewrites MLflow's tables, and
`moving` is the whole.
"""
