"""The report and the model card of a run, and pages over several, from nothing but the files in their folders.

Each page is a module, which draws with matplotlib; advice, evidence and verdict are imported without it.
"""
