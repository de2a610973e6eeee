"""The exceptions for what is no bug."""


class UserError(ValueError):
    """A mistake in the input, the configuration or the environment.

    The message is one line that names the thing, its value, what is allowed and the remedy. Jobs
    print it without a traceback; any other exception is a bug and keeps its traceback.
    """


class PassingError(UserError):
    """A fault of a store, a server or the network: what met it may go well when done again.

    It was waited out for a while already. Training restarts from its checkpoint because of it.
    """
