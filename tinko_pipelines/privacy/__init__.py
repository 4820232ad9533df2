"""A person's right to see what is kept of him, and to be forgotten, while the money stays in the books."""
