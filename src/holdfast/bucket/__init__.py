"""The bucket behind a project: who may do what in it, how it is kept, what lies in it and costs, and moving it."""
