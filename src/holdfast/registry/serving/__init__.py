"""Loading the version that is meant, keeping its files, and following it as it changes."""
