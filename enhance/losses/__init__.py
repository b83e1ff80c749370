"""Losses and distances as pure functions of tensors (or modules that hold only fixed windows and matrices)."""
