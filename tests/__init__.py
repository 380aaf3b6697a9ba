"""The tests; a package, because a library that is tested against installs another one of this name."""
