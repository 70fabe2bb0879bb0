"""Changes to a model, one event each: registration, promotion, rollback, aliases and tags, deletion, repair."""
