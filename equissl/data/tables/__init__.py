"""Tables of image files: cells, kinds of factors, their values, and what can be said of them."""
