"""Where do rows come from? Mirrors, the cache, IDX files and folders, as arrays of images and labels."""
