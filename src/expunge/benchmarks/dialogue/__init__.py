"""The dialogue sets of TDEC (Jang et al. 2023): unigram F1 of greedy replies."""
