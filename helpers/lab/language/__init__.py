"""Language models: loading them into an engine, how well they know texts, how fast they answer, their cost on paper."""
