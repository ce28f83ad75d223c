"""The command line: one file per command. Only this package imports click and tqdm, prints, or exits."""
