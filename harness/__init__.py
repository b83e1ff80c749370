"""What surrounds any run: errors, configuration, log, whole files, seeds, jobs, checkpoints, command line."""
