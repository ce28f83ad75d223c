"""How do weights look on a page? `page` makes it; `charts` and `png` make its pictures."""
