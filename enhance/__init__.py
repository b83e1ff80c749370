"""enhance: noisy speech to clean speech; generators, critics, losses, training, and denoising of data directories."""
