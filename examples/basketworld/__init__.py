"""A worked example: two teams on a hexagonal court, who learn to play against each other."""
