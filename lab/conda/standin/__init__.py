"""A stand-in for the `conda` command: what a role can tell from outside is like conda 26.3.2, the rest is not there.

It solves and links with py-rattler. Conda's traps are kept on purpose (`create` deletes an existing environment before
it solves; `install` upgrades what is named; a question without a terminal ends with exit code 0): a test that passes
because the stand-in is kinder than conda would be a lie.
"""

VERSION = "26.3.2"
