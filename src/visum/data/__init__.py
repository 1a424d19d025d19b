"""Files become pictures here: sources find them, ``decode`` is the one place that opens them, ``load`` reads each once
into the store, ``pixels`` is the one preprocessing, and ``split`` divides the rows."""
