"""Reading all that clean-up must know of MLflow's stores, and removing what MLflow itself keeps for ever.

`open_cleanup` (in `opening`) gives a `CleanupStore`: over a database (`sql_store`), where rows can be removed, or over
REST (`api_store`), where they cannot.
"""
