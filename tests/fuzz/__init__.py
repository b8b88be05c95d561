"""Files changed at random: each must be read as a value or refused in one line."""
