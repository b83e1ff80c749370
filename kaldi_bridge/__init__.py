"""Kaldi files: data directories, tables, audio, features, models and transducers, and real Kaldi programs."""
