"""Helpers that every layer may use: devices, optional imports, validation."""
