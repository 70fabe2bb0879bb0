"""What lies below a place, in all its forms, and removing it: many objects at once, and told of each that was not."""
