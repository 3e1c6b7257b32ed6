"""The sweep as its user declares it: read, checked against its system, planned."""
