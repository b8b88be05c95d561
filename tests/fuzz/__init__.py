"""Files changed at random: each must be read as a value or refused in one line, and everything works on the value.

    python -m tests.fuzz 10000 set       ten thousand distilled sets
    python -m tests.fuzz 600             six hundred files of each kind
    python -m tests.fuzz 600 pool study  six hundred pools and studies

run from a checkout, print for each kind how many files were read and how many were refused in one line, each traceback
with its place and its seed, and whether a module that only a hostile file names was run. Seeds count from 0, so a
campaign can be repeated. `make test` tries a few files of each kind.
"""
