"""The mathematics of the other adapters, one file per family."""
