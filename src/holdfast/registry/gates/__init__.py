"""What a version must show before it may enter a stage; one gate a question, one module a kind of evidence."""
