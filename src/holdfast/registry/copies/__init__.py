"""Copying a version to another model, on this server or another."""
