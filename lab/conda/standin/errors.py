"""The failures that callers can see, under conda's names."""

from __future__ import annotations

from typing import Any


class CondaError(Exception):
    """A failure with conda's name for it; `fields` are the extra keys of its JSON."""

    def __init__(self, name: str, message: str, **fields: Any) -> None:
        """Keep conda's name of the exception and what it adds to the JSON."""
        super().__init__(message)
        self.name, self.message, self.fields = name, message, fields

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "caused_by": "None",
            "error": f"{self.name}: {self.message}",
            "exception_name": self.name,
            "exception_type": f"<class 'conda.exceptions.{self.name}'>",
            "message": self.message,
            **self.fields,
        }


class Quiet(Exception):
    """An end with exit code 0 and a line on the terminal: a declined question, a dry run."""

    def __init__(self, name: str, message: str) -> None:
        """Keep conda's name for it."""
        super().__init__(message)
        self.name, self.message = name, message


def no_environment(prefix: str) -> CondaError:
    """What conda says about a prefix that is no environment."""
    return CondaError(
        "EnvironmentLocationNotFound", f"Not a conda environment: {prefix}", environment_location=str(prefix)
    )
