"""The model that joins encoder, connector and decoder, and its prompt."""
