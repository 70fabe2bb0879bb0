"""What MLflow loads by entry points: on every `import mlflow`, so that importing these does next to nothing."""
