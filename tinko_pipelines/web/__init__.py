"""Pages and doors for the outside: each module names its routes, and nothing here listens by itself."""
