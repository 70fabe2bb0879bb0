"""Checks of the tracking server, its database, and the experiment's place."""
