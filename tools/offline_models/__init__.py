"""Programs that get base models where no hub can be reached, and convert them; see README.md."""
