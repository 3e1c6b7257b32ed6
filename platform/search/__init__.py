"""The search: Optuna's storage keeps the study, every outcome told as what it was."""
