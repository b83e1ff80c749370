"""Acoustic models: features and alignments in, likelihoods, words and word error rates out."""
