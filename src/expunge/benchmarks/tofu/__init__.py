"""TOFU (Maini et al. 2024): questions, logs of three formats, and the metrics on them."""
