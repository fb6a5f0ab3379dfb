"""A ledger of deletion requests: each a run on the model that the last one left, recorded in a chain of plain files.

`add` and `rollback` load torch; `verify_ledger` does not.
"""
