"""The one exception for what a user can mend."""


class UserError(ValueError):
    """A mistake in the input, the configuration or the environment.

    The message is one line that names the thing, its value, what is allowed and the remedy. Jobs
    print it without a traceback; any other exception is a bug and keeps its traceback.
    """
