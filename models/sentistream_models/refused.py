"""Input that cannot be used: the message says what was found and what to do, and the command line shows nothing else."""


class Refused(ValueError):
    """Told to the user as it is, without a traceback."""
