"""What several commands share: options that mean the same everywhere, and where images are."""
