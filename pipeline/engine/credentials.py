"""The engine's keys and password: made at its first start, kept in AIRFLOW_HOME, readable by their owner alone."""

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["Credentials"]

_OWNER_ONLY = 0o600
_OWNER_ONLY_FOLDER = 0o700


@dataclass(frozen=True)
class Credentials:
    """Where the secrets lie; their values are read by Airflow itself and never enter an environment or a command."""

    user: str
    password_file: Path
    """JSON: user -> password, the form that Airflow's simple auth manager reads."""
    fernet_key_file: Path
    jwt_secret_file: Path
    api_secret_file: Path

    @classmethod
    def ensure(cls, airflow_home: Path, user: str = "admin") -> Self:
        """Make what is missing, and return where everything is."""
        airflow_home.mkdir(parents=True, exist_ok=True)
        airflow_home.chmod(_OWNER_ONLY_FOLDER)
        made = cls(
            user,
            airflow_home / "passwords.json",
            airflow_home / "fernet.key",
            airflow_home / "jwt.secret",
            airflow_home / "api.secret",
        )
        _keep(made.password_file, json.dumps({user: secrets.token_urlsafe(18)}))
        _keep(made.fernet_key_file, base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
        _keep(made.jwt_secret_file, secrets.token_urlsafe(48))
        _keep(made.api_secret_file, secrets.token_urlsafe(48))
        return made

    def password(self) -> str:
        """Return the user's password."""
        return str(json.loads(self.password_file.read_text(encoding="utf-8"))[self.user])


def _keep(file: Path, content: str) -> None:
    """Write a secret unless it is there; it is complete or absent, and never readable by others."""
    if not file.exists():
        draft = file.with_name(file.name + ".draft")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "w") as handle:
            handle.write(content)
        draft.replace(file)
    file.chmod(_OWNER_ONLY)
