"""What a sweep leaves on record: the journal, and everything told from it."""
