"""Mutation testing of the generated design: small changes of it, and which tests notice them."""
