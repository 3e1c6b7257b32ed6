"""MLflow beside a sweep: fed from the journal, never waited for."""
