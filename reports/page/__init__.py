"""The page: its sections, its elements, and how figures are written to files."""
