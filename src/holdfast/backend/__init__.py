"""The boundary to MLflow: the only room that calls its clients and knows its errors."""
