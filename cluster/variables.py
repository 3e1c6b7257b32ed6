"""Environment variables that go along with a job: its dashboard shows them to everyone, so secrets stay out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..platform.errors import Refused, UserError
from ..trainables.redaction import is_secret_name, redacted


def variables_of(assignments: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` options as a mapping.

    Raises:
        UserError: one has no ``=`` or no name.
        Refused: one holds a secret.
    """
    pairs = [text.partition("=") for text in assignments]
    for text, (name, sign, _) in zip(assignments, pairs, strict=True):
        if not (sign and name.isidentifier()):
            raise UserError(
                "must look like KEY=VALUE", key="--env", value=text, fix="Example: --env HF_HOME=/shared/hf."
            )
    return dict(checked_variables({name: value for name, _, value in pairs}))


def checked_variables(variables: Mapping[str, str]) -> Mapping[str, str]:
    """The variables, if none of them holds a secret; the message leaves the value out.

    Raises:
        Refused: by its name or its value, one does.
    """
    for name, value in variables.items():
        if is_secret_name(name) or redacted(value) != value:
            raise Refused(
                f"{name} holds a secret, which the cluster's dashboard would show and its head node keep",
                key="--env",
                fix="Set it where the nodes are started, or put it into a file there and name that "
                "(AWS_SHARED_CREDENTIALS_FILE, PGPASSFILE, GOOGLE_APPLICATION_CREDENTIALS).",
            )
    return variables
