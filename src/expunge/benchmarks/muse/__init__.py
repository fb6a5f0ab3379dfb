"""MUSE: news and books to be forgotten (Shi et al. 2025)."""
