"""Every error Holdfast raises.

Each error says what went wrong and with which thing (`message`), and what mends it
(`hint`: a command, a setting, or the right form). `retryable` is true where the same
call may succeed later without a change. Messages and hints never hold a secret.
"""

from __future__ import annotations


class HoldfastError(Exception):
    """Root of all errors raised on purpose by Holdfast.

    Args:
        message: What happened, and to which run, file, setting or model.
        hint: The command, setting or form that mends it; empty where there is none.
        retryable: Whether the same call may succeed later, unchanged.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "", retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.message, self.hint, self.retryable))


class InvalidInputError(HoldfastError, ValueError):
    """An argument has a form that is refused before anything is sent."""

    exit_code = 2


class SettingsError(HoldfastError):
    """A setting is missing, malformed, or contradicts another."""

    exit_code = 2


class CredentialsError(SettingsError):
    """AWS credentials are incomplete or cannot be had from the chosen source."""


class MissingDependencyError(HoldfastError, ImportError):
    """An optional dependency is not installed."""


class BackendError(HoldfastError):
    """The tracking server or database refused or failed a request."""


class BackendUnavailableError(BackendError):
    """The tracking server or database cannot be reached, or asks to come back later."""

    exit_code = 3


class NotFoundError(BackendError):
    """The run, experiment, model or version does not exist."""


class AlreadyExistsError(BackendError):
    """The thing to be created exists already."""


class PermissionDeniedError(BackendError):
    """The tracking server refuses this user."""


class ArtifactError(HoldfastError):
    """A file cannot be stored in, or fetched from, the artifact store.

    Args:
        message: As of `HoldfastError`.
        hint: As of `HoldfastError`.
        retryable: As of `HoldfastError`.
        code: The store's own word for it (`AccessDenied`), where there is one.
    """

    def __init__(self, message: str, hint: str = "", retryable: bool = False, code: str = "") -> None:
        super().__init__(message, hint, retryable)
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.message, self.hint, self.retryable, self.code))


class JournalError(HoldfastError):
    """What was logged cannot be written to the journal, or the journal cannot be read."""


class JournalFullError(JournalError):
    """The journal has reached its size bound."""

    exit_code = 3


class DeliveryError(HoldfastError):
    """What was logged is in the journal and is not all on the server."""

    exit_code = 3


class RunStateError(HoldfastError):
    """The call needs an active run, or needs that there is none."""


class RegistryError(HoldfastError):
    """A model version cannot be registered, moved or deleted as asked."""


class PromotionRefusedError(RegistryError):
    """A promotion rule says no; the registry is unchanged.

    Args:
        message: As of `HoldfastError`.
        hint: As of `HoldfastError`.
        retryable: As of `HoldfastError`.
        answers: What each gate answered (`CheckAnswer`), those that passed too; empty where none was asked.
    """

    def __init__(self, message: str, hint: str = "", retryable: bool = False, answers: tuple[object, ...] = ()) -> None:
        super().__init__(message, hint, retryable)
        self.answers = answers

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.message, self.hint, self.retryable, self.answers))


class HistoryError(RegistryError):
    """A model's history cannot be read, written or believed."""


class ServerError(HoldfastError):
    """A server process cannot be started, or ended before it answered."""


class DataError(HoldfastError, ValueError):
    """A data file is missing, malformed, or too small for its purpose."""

    exit_code = 2
