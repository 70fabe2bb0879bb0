"""S3 with one project's own credentials: fast, checked, and leaving the process's `AWS_*` alone."""

from holdfast.artifacts.s3.files import S3Files

__all__ = ["S3Files"]
