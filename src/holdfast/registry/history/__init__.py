"""The history of a registered model: kept in the registry, mirrored in the artifact store, told to webhooks."""
