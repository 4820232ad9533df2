"""Writing to customers: texts, rendering, transports, and the outbox that sends each mail at most once."""
