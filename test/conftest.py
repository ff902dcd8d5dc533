"""Set up what every test shares."""
