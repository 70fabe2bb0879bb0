"""Self-play: one policy learns both roles against frozen policies of its own past."""
