"""Adapters: where they start, how they leave the base model alone, and what is handed over."""
