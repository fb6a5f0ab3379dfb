"""Attacks: does what was forgotten come back? One attack a file; what is measured and compared is shared."""
