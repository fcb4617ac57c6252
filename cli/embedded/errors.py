"""What `secateur up` cannot settle by itself. Every message says what is wrong and the way out."""


class EmbeddedStackError(Exception):
    """The service cannot start, or cannot go on."""


class MissingPackageError(EmbeddedStackError):
    """The binaries of an embedded server are not installed."""


class RootRefusedError(EmbeddedStackError):
    """Postgres does not run as root, and this machine lets root become nobody else."""


class FolderInUseError(EmbeddedStackError):
    """Another process works on the same data folder."""


class ForeignFolderError(EmbeddedStackError):
    """The data folder belongs to another user."""


class AddressError(EmbeddedStackError):
    """The API cannot listen where it was told to."""


class NotReadyError(EmbeddedStackError):
    """A service runs, yet does not answer in time."""


class ServiceFailedError(EmbeddedStackError):
    """A service does not stay up; the message ends with the last lines it wrote."""
