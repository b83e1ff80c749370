"""The classic Kaldi system: lang dir, language model, GMM ladder, graphs, decoding, lattices."""
