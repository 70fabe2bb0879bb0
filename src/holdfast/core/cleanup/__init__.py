"""The rules of clean-up: what is garbage, what is protected and by what, over plain records."""
