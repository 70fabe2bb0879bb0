"""The `holdfast` command: parse, call, render. One file a noun."""

from holdfast.cli.app import main

__all__ = ["main"]
