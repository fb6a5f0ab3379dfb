"""Running a recipe from end to end."""
