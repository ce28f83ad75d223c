"""How do we look at it? Weights and digits as pictures, in the terminal and on a page."""
