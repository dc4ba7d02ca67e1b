"""Other libraries that users combine with the classifiers, each in its installed version."""
