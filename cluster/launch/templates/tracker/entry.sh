#!/bin/sh
# Starts MLflow with a login. Secrets are read from files in $SECRETS, so that no image, manifest or argument holds one.
# With arguments, runs them instead, with the database's password at hand: `entry.sh mlflow db upgrade ...`.
set -eu

secrets="${SECRETS:-/run/secrets}"
PGPASSWORD="$(cat "$secrets/database-password")"
export PGPASSWORD
database="postgresql+psycopg://mlflow@${DATABASE_HOST:-database}/mlflow"

if [ "$#" -gt 0 ]; then
    exec "$@"
fi

MLFLOW_FLASK_SERVER_SECRET_KEY="$(cat "$secrets/session-key")"
export MLFLOW_FLASK_SERVER_SECRET_KEY
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
export MLFLOW_AUTH_CONFIG_PATH="${TMPDIR:-/tmp}/mlflow-auth.ini"
umask 077
cat > "$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = READ
database_uri = $database
admin_username = admin
admin_password = $(cat "$secrets/admin-password")
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
INI

exec mlflow server --app-name basic-auth --host 0.0.0.0 --port "${PORT:-5000}" --workers "${WORKERS:-2}" \
    --backend-store-uri "$database" --artifacts-destination "${ARTIFACTS:-/artifacts}" \
    --allowed-hosts "${ALLOWED_HOSTS:-localhost,localhost:*,127.0.0.1:*}"
