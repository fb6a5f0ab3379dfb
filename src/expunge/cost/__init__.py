"""`expunge validate` predicts here what a run will cost."""
