"""What came out: who is best and how sure that is, as tables, figures and one page."""
