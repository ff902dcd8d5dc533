"""Programs that get and convert base models without a hub; see README.md."""
