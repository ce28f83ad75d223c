"""What stays on disk? Weights and their receipt in one file, and the checkpoint of a run under way."""
