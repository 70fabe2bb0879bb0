"""A worked example: where a transmitter stands, learnt from the radio signals of several receivers."""
