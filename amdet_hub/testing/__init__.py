"""A local Hub and tiny encoders, for our tests and for other people's."""
