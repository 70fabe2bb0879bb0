"""Checks of the journal and of who delivers it."""
