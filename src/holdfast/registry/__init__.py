"""The model registry's rules: versions, stages and aliases in step, promotion."""

from holdfast.registry.changes.promoting import Promotion
from holdfast.registry.registry import ModelRegistry
from holdfast.registry.versioning import ModelVersioning

__all__ = ["ModelRegistry", "ModelVersioning", "Promotion"]
