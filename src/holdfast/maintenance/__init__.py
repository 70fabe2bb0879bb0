"""Clean-up of a whole store: surveyed, shown, removed, noted down, and brought back where it can be."""
