"""Checks of this machine: environment, settings, packages, keys."""
