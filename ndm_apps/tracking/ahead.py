"""MLflow with its SQLite store, imported on import: for a process that others are forked from."""

from ndm_apps.tracking.store import quiet

quiet()  # before MLflow reads it

import mlflow.store.tracking.sqlalchemy_store  # noqa: E402, F401
