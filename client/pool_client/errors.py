"""The one exception of this package."""


class ClientError(Exception):
    """Something was asked for that cannot be done; the text is one sentence for the user."""
