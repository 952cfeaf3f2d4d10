"""Solvers: each takes a function and a start, and returns where it stopped and why."""
