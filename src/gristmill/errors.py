"""The one exception that a user is meant to see."""


class UserError(Exception):
    """Something the user can mend: what happened, where, and the remedy.

    The command line prints it as one message without a traceback and exits with code 2.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}\n  remedy: {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy
