"""The complete model of encoder, connector and decoder, its prompt and its weights."""
