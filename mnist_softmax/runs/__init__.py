"""Who does a whole job? Training, scoring, sweeping, reproducing: from the data to the file, no printing."""
