"""Libraries that train without Lightning: XGBoost, scikit-learn, Stable-Baselines3, Hugging Face's Trainer.

Each is a module of its own, which needs its library: `from holdfast.training.integrations.xgboost import
HoldfastXGBoostCallback`. All log to the tracker's open run, and where none is open begin one and end it.
"""
