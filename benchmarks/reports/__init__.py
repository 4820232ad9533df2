"""Building the marts at size, against pandas."""
