"""The linear form: its objective over a span, its prior, and what leave-one-out chooses."""
