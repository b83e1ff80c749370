"""Systems of pytorch-kaldi as models of ours: system (the .cfg), plan (our settings), weights, importing."""
