"""The run folder: the name and the schema of every file in it; nothing else reads or writes its state."""
