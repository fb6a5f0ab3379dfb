"""The commands of the command line, a file each: its options, its help, and what it prints.

`cli.py` registers them. The work itself is imported when a command runs, from the floor below where Python finds it as
well: `expunge --help` takes a fraction of a second, and torch takes several.
"""
