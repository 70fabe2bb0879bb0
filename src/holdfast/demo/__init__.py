"""Demonstrations that run the real thing, on servers of their own, and say what they saw."""
