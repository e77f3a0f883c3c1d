"""Ways to find the rows of a unit that may score best: all of FAISS is here."""
