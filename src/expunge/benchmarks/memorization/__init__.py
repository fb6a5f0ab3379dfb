"""The benchmark for a user's own data: how much of it the model still has by heart."""
