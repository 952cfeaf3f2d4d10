"""Gaussian posteriors of the weights, and predictions that average over them."""
