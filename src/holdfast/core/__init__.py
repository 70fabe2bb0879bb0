"""Pure rules: no input, no output, no third-party clients."""
