"""A stand-in for conda's world, for machines that reach Debian and PyPI but no conda channel.

It builds a channel whose packages hold Debian's Pythons and R and PyPI's wheels, an installer with the interface of
the real one, and a `conda` command that behaves like the real one where a role could tell the difference. What it
stands in for is written on everything it makes: nothing tested with it has been tested with conda itself.
"""
