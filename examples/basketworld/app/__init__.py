"""The page: watch two policies of a run play each other on the court, take a team over, and see why they do it."""
