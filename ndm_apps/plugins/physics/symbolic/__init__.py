"""Laws beyond the dictionaries: symbolic regression (Operon) on what a chart sees, tested as all other laws are."""
