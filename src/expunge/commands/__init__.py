"""What the command line does, a command a file; each is a function that Python can call as well."""
