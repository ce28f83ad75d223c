"""What does the user type? One file per command; only this room imports click and tqdm, prints or exits."""
