"""What can be wrong with input; every message says what, where, and what to do."""


class InputError(ValueError):
    """Something given from outside cannot be used; the message is one sentence for the user."""
