"""Who plays BasketWorld and how well: players, policies and their files, episodes, matches, and what they show."""
