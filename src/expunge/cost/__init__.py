"""What a run will cost, as `expunge validate` predicts it."""
