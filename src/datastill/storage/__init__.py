"""What is read and written: whole files, records and their rules, locks of the system, seals, pickles, checkpoints."""
