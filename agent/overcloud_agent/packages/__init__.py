"""The group package-update: what is about to be updated, what follows from it, and exactly that."""
