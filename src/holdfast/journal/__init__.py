"""The journal: what was logged, on the local disk, until it is delivered. `FORMAT.md` specifies the bytes."""
