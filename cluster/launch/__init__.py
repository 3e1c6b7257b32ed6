"""Files that start a cluster: rendered from one small description, checked, written without overwriting anything."""
