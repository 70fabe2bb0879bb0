"""The model registry's rules: versions, stages and aliases in step, promotion."""

from holdfast.registry.registry import ModelRegistry, Promotion
from holdfast.registry.versioning import ModelVersioning

__all__ = ["ModelRegistry", "ModelVersioning", "Promotion"]
