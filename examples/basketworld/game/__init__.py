"""The game: its court, its rules, and batches of games that are stepped at once; no learning, no server."""
