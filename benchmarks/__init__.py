"""Benchmarks: side by side with plain MLflow, in one run, as ratios. Never part of the tests."""
